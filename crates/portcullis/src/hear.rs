//! From the data path's signals to the people who are told of them.

use control::pages::{Noticed, Pager};
use detection::{Containment, Evidence, Signal};
use gateway::watch::{Contained, Told};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Hands every signal to the pager, until `stop` turns true. Those of strangers wait for the others.
pub(crate) async fn hear(
    [mut signals, mut of_strangers]: [Receiver<Arc<Told>>; 2],
    pager: Arc<Pager>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let heard = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            heard = signals.recv() => heard,
            heard = of_strangers.recv() => heard,
        };
        match heard {
            Ok(told) => pager.notice(noticed(&told)),
            Err(RecvError::Lagged(count)) => pager.lose(count),
            Err(RecvError::Closed) => return,
        }
    }
}

fn noticed(told: &Told) -> Noticed {
    let signal = &told.signal;
    let wants_person = |containment: &Containment| {
        matches!(containment, Containment::Page | Containment::OpenCase | Containment::Sever(_))
    };
    let holds = |(containment, became): &(Containment, Contained)| match became {
        Contained::Entry(entry) => Some(format!("{containment} (entry {entry})")),
        Contained::Already => Some(format!("{containment} (in force already)")),
        Contained::Shadow | Contained::People => None,
    };
    let opens_case = signal.containment.contains(&Containment::OpenCase);
    Noticed {
        at: told.at,
        rule: signal.rule().to_owned(),
        sentence: signal.cause.to_string(),
        evidence: Value::Object(signal.evidence().into_iter().map(evidence).collect()),
        calls_for: signal.containment.iter().map(ToString::to_string).collect(),
        contained: told.contained.iter().filter_map(holds).collect(),
        shadow: signal.shadow,
        pages: !signal.shadow && signal.containment.iter().any(wants_person),
        of_strangers: signal.is_of_strangers(),
        contains: signal
            .containment
            .iter()
            .any(|containment| !matches!(containment, Containment::Page | Containment::OpenCase)),
        case_about: opens_case.then(|| about(signal)),
    }
}

fn evidence((name, value): (&'static str, Evidence)) -> (String, Value) {
    let value = match value {
        Evidence::Count(count) => count.into(),
        // Thousandths are exact as they are; a fraction is what people read.
        Evidence::Permille(permille) => {
            format!("{}.{:03}", permille / 1_000, permille % 1_000).into()
        }
        Evidence::Text(text) => text.into(),
    };
    (name.to_owned(), value)
}

/// What was contained. Networks are left out: whoever has many would open many cases.
fn about(signal: &Signal) -> String {
    let named = signal.containment.iter().find_map(|containment| match containment {
        Containment::Throttle(grant) => Some(grant.to_string()),
        Containment::Restrict(integration) | Containment::Sever(integration) => {
            Some(integration.to_string())
        }
        Containment::SuspendCredential(credential) => Some(credential.to_string()),
        Containment::SuspendOperation(operation) => Some(operation.to_string()),
        Containment::RefuseNetwork(_) | Containment::Page | Containment::OpenCase => None,
    });
    named.unwrap_or_default()
}
