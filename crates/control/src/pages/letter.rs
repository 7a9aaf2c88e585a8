//! A page as a letter to one of the operator's staff.

use crate::mail::{BadLetter, Composed, Content};
use serde_json::Value;
use std::fmt::Write;
use storage::signals::Delivery;

/// The letter about a page, the same bytes at each attempt.
///
/// # Errors
/// [`BadLetter`] if an address is none.
pub(super) fn compose(delivery: &Delivery, from: &str, to: &str) -> Result<Composed, BadLetter> {
    let page: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let signals = page.get("signals").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let left_out = page.get("left_out").and_then(Value::as_u64).unwrap_or(0);
    let count = u64::try_from(signals.len()).unwrap_or(0).saturating_add(left_out);
    let deployment = text(&page, "deployment");
    let title = match signals {
        [only] if left_out == 0 => format!("[{deployment}] {}", text(only, "sentence")),
        _ => format!("[{deployment}] {count} signals"),
    };
    let mut body = String::new();
    for signal in signals {
        let times = signal.get("count").and_then(Value::as_u64).unwrap_or(1);
        let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
        let (at, rule) = (text(signal, "at"), text(signal, "rule"));
        let _ = writeln!(body, "{at}  {rule}\n  {}{times}", text(signal, "sentence"));
        for (name, value) in signal.get("evidence").and_then(Value::as_object).into_iter().flatten()
        {
            let _ = writeln!(body, "  {name}: {value}");
        }
        let contained = signal.get("contained").and_then(Value::as_array).into_iter().flatten();
        for contained in contained.filter_map(Value::as_str) {
            let _ = writeln!(body, "  contained: {contained}");
        }
        body.push('\n');
    }
    if left_out > 0 {
        let _ = writeln!(body, "and {left_out} more: `portcullis signals` has them.\n");
    }
    body.push_str(
        "`portcullis signals` and the console show what stands, and take that somebody looked.\n",
    );
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let message_id = format!("page-{}@{domain}", delivery.id);
    let date = delivery.made;
    let content = Content { from, to, title: &title, message_id: &message_id, date, body: &body };
    Composed::new(&content)
}
