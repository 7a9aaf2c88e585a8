//! One letter as RFC 5322 text: a few headers and a plain-text body in base64.
//!
//! Whatever the inputs hold, they stay inside their own header: an address must be one, a Message-ID too, and a subject
//! line that is not printable ASCII becomes encoded words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use incident::people::is_address;
use model::UnixMicros;
use std::fmt;

/// Longest encoded word of RFC 2047, less `=?utf-8?B?` and `?=`, in base64's groups of four, in bytes of text.
const ENCODED_WORD_TEXT_MAX: usize = 45;

/// Bytes of the body in one line of 76 characters of base64.
const BODY_LINE_BYTES: usize = 57;

/// What a letter says.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// The company's address, `local@domain`, ASCII.
    pub from: &'a str,
    /// The subject's address, likewise.
    pub to: &'a str,
    /// The subject line, any text.
    pub title: &'a str,
    /// `left@domain`, without angle brackets: the same for each attempt at this letter.
    pub message_id: &'a str,
    /// Goes into `Date`. The same for each attempt, so that the bytes are too.
    pub date: UnixMicros,
    /// Any text; lines end in LF or CRLF.
    pub body: &'a str,
}

/// A letter that can be handed over. `Debug` prints none of it.
#[derive(Clone)]
pub struct Composed {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) message_id: String,
    pub(super) bytes: Vec<u8>,
}

/// Why a letter cannot be composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLetter {
    /// RFC 6531's addresses are not implemented.
    #[error("the subject's address is not `local@domain` in ASCII")]
    To,
    /// The configuration's fault.
    #[error("the sender's address is not `local@domain` in ASCII")]
    From,
    /// The configuration's fault.
    #[error("the message id is not `left@domain`")]
    MessageId,
    /// The caller has no text for this person, or did not find them.
    #[error("there is nothing to write to this subject")]
    Nothing,
}

impl Composed {
    /// Writes the letter.
    ///
    /// # Errors
    /// [`BadLetter`], for addresses and ids that would not stay in their header or their SMTP command.
    ///
    /// Source: RFC 5322 section 2 and 3.6, RFC 2045 section 6.8, RFC 2047 section 2, RFC 3834 section 5.
    pub fn new(content: &Content<'_>) -> Result<Self, BadLetter> {
        let address =
            |text: &str, wrong| if is_address(text) { Ok(text.to_owned()) } else { Err(wrong) };
        let from = address(content.from, BadLetter::From)?;
        let to = address(content.to, BadLetter::To)?;
        let message_id = address(content.message_id, BadLetter::MessageId)?;
        let head = format!(
            "Date: {}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: {}\r\nMessage-ID: <{message_id}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            date(content.date),
            unstructured(content.title),
        );
        let mut bytes = head.into_bytes();
        //= RFC 2045 section 6.8: line breaks of text are CRLF before it is encoded
        let body = content.body.replace("\r\n", "\n").replace('\n', "\r\n");
        for line in body.as_bytes().chunks(BODY_LINE_BYTES) {
            bytes.extend_from_slice(STANDARD.encode(line).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        Ok(Self { from, to, message_id, bytes })
    }

    /// The whole message, lines ending in CRLF.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Composed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composed").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// A header's free text, folded between encoded words.
fn unstructured(text: &str) -> String {
    let plain = text.len() <= ENCODED_WORD_TEXT_MAX
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !text.contains("=?")
        && text.trim() == text;
    if plain {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    //= RFC 2047 section 5: each word holds whole characters. Control characters have no place in a subject line.
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if word.len() + c.len_utf8() > ENCODED_WORD_TEXT_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<_> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

/// RFC 5322 section 3.3, in UTC.
fn date(at: UnixMicros) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let day = usize::try_from(at.secs() / 86_400 % 7).unwrap_or(0);
    let text = at.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    format!(
        "{}, {} {} {} {} +0000",
        DAYS.get(day).copied().unwrap_or_default(),
        part(8..10),
        MONTHS.get(month).copied().unwrap_or_default(),
        part(0..4),
        part(11..19),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTENT: Content<'static> = Content {
        from: "notices@company.example",
        to: "person@mail.example",
        title: "What was read of yours",
        message_id: "inc-1.abc@company.example",
        date: UnixMicros(1_795_377_876_500_000),
        body: "Hello.\nGood bye.\n",
    };

    #[test]
    fn a_letter_reads_as_rfc_5322() {
        let letter = Composed::new(&CONTENT).unwrap();
        assert_eq!(
            String::from_utf8(letter.bytes).unwrap(),
            "Date: Sun, 22 Nov 2026 20:04:36 +0000\r\n\
             From: <notices@company.example>\r\n\
             To: <person@mail.example>\r\n\
             Subject: What was read of yours\r\n\
             Message-ID: <inc-1.abc@company.example>\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: base64\r\n\
             \r\n\
             SGVsbG8uDQpHb29kIGJ5ZS4NCg==\r\n"
        );
    }

    #[test]
    fn titles_that_are_not_ascii_are_encoded_words() {
        assert_eq!(unstructured("Grüße"), "=?utf-8?B?R3LDvMOfZQ==?=");
        assert_eq!(unstructured("=?utf-8?B?AAAA?="), "=?utf-8?B?PT91dGYtOD9CP0FBQUE/PQ==?=");
        assert!(unstructured(&"ü".repeat(100)).lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c.example",
            "a@b.example\r\nRCPT TO:<x@y.example>",
            "<a@b.example>",
            "a@b..example",
            "a..b@c.example",
            "a@-b.example",
            "ü@c.example",
            "a@ü.example",
            "a@b.example\n",
            "a\0@b.example",
        ] {
            let got = Composed::new(&Content { to: wrong, ..CONTENT });
            assert_eq!(got.err(), Some(BadLetter::To), "{wrong:?}");
        }
        for right in ["a@b", "first.last+tag@sub.example", "o'neil@b.example"] {
            assert!(Composed::new(&Content { to: right, ..CONTENT }).is_ok(), "{right}");
        }
    }

    proptest! {
        #[test]
        fn no_input_adds_a_header_or_a_long_line(
            title in any::<String>(),
            body in any::<String>(),
            tail in "[\\x00-\\x7f]{0,8}",
            micros in 0..253_402_300_800_000_000_u64,
        ) {
            let to = format!("person@mail.example{tail}");
            let content = Content { title: &title, body: &body, to: &to, date: UnixMicros(micros), ..CONTENT };
            let Ok(letter) = Composed::new(&content) else { return Ok(()) };
            let text = String::from_utf8(letter.bytes).unwrap();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
            prop_assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            prop_assert!(text.split("\r\n").all(|line| line.len() <= 998));
            let (head, _) = text.split_once("\r\n\r\n").unwrap();
            let names: Vec<_> = head
                .split("\r\n")
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split(':').next().unwrap())
                .collect();
            prop_assert_eq!(names, [
                "Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
                "Content-Transfer-Encoding",
            ]);
        }
    }
}
