//! Where subjects live and how they are written to: read from CSV, valid once built.

use aws_lc_rs::digest::{SHA256, digest};
use model::{Digest, SubjectId};
use std::collections::BTreeMap;
use std::fmt;

/// Longest file of addresses, in bytes: ten million people fit.
pub const BYTES_MAX: usize = 1 << 30;

/// RFC 5321 section 4.5.3.1: a path of 256 bytes with its angle brackets, a local part of 64.
const ADDRESS_BYTES_MAX: usize = 254;
const LOCAL_PART_BYTES_MAX: usize = 64;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// One subject, as the company knows them. `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// An addr-spec that can stand in a header as it is.
    pub email: Option<String>,
    /// How to address them; one line.
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(..)")
    }
}

/// Everybody the company has an address or a country of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    by_subject: BTreeMap<SubjectId, Person>,
    digest: Digest,
}

/// The file cannot be used; whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeople {
    /// It does not begin with one.
    #[error("the first row has to name the columns: subject, email, name, country")]
    NoHeader,
    /// Whatever came after it would be part of one cell.
    #[error("line {0}: a quote is not closed")]
    Unclosed(usize),
    /// It is too long.
    #[error("the file is longer than 1 GiB")]
    TooLong,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Where it begins, from 1.
    pub line: usize,
    /// Why, without naming anybody.
    pub why: &'static str,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl People {
    /// Reads CSV (RFC 4180) whose first row names the columns, in any order; columns of other names are ignored.
    ///
    /// A row without a usable subject, or with one that stood there before, is left out and returned. A row with an address or
    /// country that cannot be one is kept without it, and returned too.
    ///
    /// # Errors
    /// [`BadPeople`].
    pub fn from_csv(text: &str) -> Result<(Self, Vec<BadRow>), BadPeople> {
        if text.len() > BYTES_MAX {
            return Err(BadPeople::TooLong);
        }
        let mut rows =
            Rows { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, unclosed: None };
        let (_, header) = rows.next().ok_or(BadPeople::NoHeader)?;
        let column = |name: &str| header.iter().position(|cell| cell.trim() == name);
        let subject = column("subject").ok_or(BadPeople::NoHeader)?;
        let [email, name, country] = ["email", "name", "country"].map(column);
        let (mut people, mut bad) = (BTreeMap::new(), Vec::new());
        for (line, row) in rows.by_ref() {
            let cell = |at: usize| row.get(at).map_or("", |cell| cell.trim());
            let optional = |at: Option<usize>| Some(cell(at?)).filter(|cell| !cell.is_empty());
            let Some(subject) = SubjectId::new(cell(subject)) else {
                bad.push(BadRow { line, why: "its subject is not 1 to 128 bytes of text" });
                continue;
            };
            if people.contains_key(&subject) {
                bad.push(BadRow { line, why: "its subject stands there already" });
                continue;
            }
            let mut checked = |given: Option<&str>, right: fn(&str) -> Option<String>, why| {
                let read = given.and_then(right);
                if given.is_some() && read.is_none() {
                    bad.push(BadRow { line, why });
                }
                read
            };
            let person = Person {
                email: checked(optional(email), address, "its email is not an address"),
                name: checked(optional(name), one_line, "its name is not one line"),
                country: checked(optional(country), alpha_2, "its country is not two letters"),
            };
            people.insert(subject, person);
        }
        match rows.unclosed {
            Some(line) => Err(BadPeople::Unclosed(line)),
            None => Ok((Self::new(people), bad)),
        }
    }

    /// Nobody.
    pub fn nobody() -> Self {
        Self::new(BTreeMap::new())
    }

    fn new(by_subject: BTreeMap<SubjectId, Person>) -> Self {
        let mut people = Self { by_subject, digest: [0; 32] };
        let csv = people.to_csv();
        people.digest.copy_from_slice(digest(&SHA256, csv.as_bytes()).as_ref());
        people
    }

    /// As [`People::from_csv`] reads it, sorted by subject: the same people have the same bytes.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("subject,email,name,country\r\n");
        for (subject, Person { email, name, country }) in &self.by_subject {
            for (n, cell) in
                [Some(subject.as_str()), email.as_deref(), name.as_deref(), country.as_deref()]
                    .into_iter()
                    .enumerate()
            {
                text.push_str(if n == 0 { "\"" } else { ",\"" });
                text.push_str(&cell.unwrap_or("").replace('"', "\"\""));
                text.push('"');
            }
            text.push_str("\r\n");
        }
        text
    }

    /// SHA-256 of [`People::to_csv`].
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// One of them.
    pub fn get(&self, subject: &SubjectId) -> Option<&Person> {
        self.by_subject.get(subject)
    }

    /// All of them but one.
    #[must_use]
    pub fn without(&self, subject: &SubjectId) -> Self {
        let mut left = self.by_subject.clone();
        left.remove(subject);
        Self::new(left)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }
}

/// An address in the directory: of a domain that has a dot, as everybody's has who is not on this machine.
fn address(text: &str) -> Option<String> {
    let (_, domain) = text.split_once('@')?;
    (is_address(text) && domain.contains('.')).then(|| text.to_owned())
}

/// Whether `text` is RFC 5321's `Dot-string "@" Domain`, which stands in a header or an SMTP command as it is and means one mailbox.
/// Quoted local parts and address literals are left out: nobody's account has them.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= ADDRESS_BYTES_MAX
        && local.len() <= LOCAL_PART_BYTES_MAX
        && local.split('.').all(atom)
        && domain.split('.').all(label)
}

fn one_line(text: &str) -> Option<String> {
    let fits = text.len() <= NAME_BYTES_MAX && !text.chars().any(|c| c.is_control());
    // Unicode's own line ends and direction marks would let a name rearrange the letter around it.
    let plain = !text.chars().any(|c| {
        matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    (fits && plain).then(|| text.to_owned())
}

fn alpha_2(text: &str) -> Option<String> {
    let fits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
    let code = text.to_ascii_uppercase();
    match code.as_str() {
        // Two that are written often, and are none.
        "UK" => Some("GB".to_owned()),
        "EL" => Some("GR".to_owned()),
        // ISO 3166-1 leaves these to whoever wants to mean something by them: not a country that anybody could look up.
        "AA" | "ZZ" => None,
        _ if matches!(code.as_bytes(), [b'X', _] | [b'Q', b'M'..=b'Z']) => None,
        _ => fits.then_some(code),
    }
}

/// Rows of a CSV text with the line each begins at. Rows without any text are left out.
struct Rows<'a> {
    rest: &'a str,
    line: usize,
    /// The line of a row whose last quote is not closed: it took in all that came after it.
    unclosed: Option<usize>,
}

impl Iterator for Rows<'_> {
    type Item = (usize, Vec<String>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let line = self.line;
            let row = self.row();
            if row.iter().any(|cell| !cell.is_empty()) {
                return Some((line, row));
            }
        }
    }
}

impl Rows<'_> {
    fn row(&mut self) -> Vec<String> {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        let (mut end, first) = (self.rest.len(), self.line);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted && chars.next_if(|(_, next)| *next == '"').is_some() => {
                    cell.push('"')
                }
                '"' if quoted => quoted = false,
                '"' if cell.is_empty() => quoted = true,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                '\n' if !quoted => {
                    self.line += 1;
                    end = at + 1;
                    break;
                }
                '\r' if !quoted => {}
                _ => {
                    self.line += usize::from(c == '\n');
                    cell.push(c);
                }
            }
        }
        cells.push(cell);
        self.unclosed = self.unclosed.or(quoted.then_some(first));
        self.rest = self.rest.get(end..).unwrap_or("");
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (People, Vec<String>) {
        let (people, bad) = People::from_csv(text).unwrap();
        (people, bad.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_quote_that_is_not_closed_loses_nobody_silently() {
        let unclosed = People::from_csv("subject,name\nacc_1,\"Eva\nacc_2,Jean\nacc_3,Li\n");
        assert!(matches!(unclosed, Err(BadPeople::Unclosed(2))), "{unclosed:?}");
    }

    #[test]
    fn columns_stand_in_any_order_and_others_are_ignored() {
        let (people, bad) = read(
            "country,plan,subject,name,email\r\nde,plus,acc_1,\"Meier, Eva \"\"Evi\"\"\",eva@mail.example\r\n\r\n,,acc_2,,\n",
        );
        assert_eq!(bad, Vec::<String>::new());
        let eva = people.get(&SubjectId::new("acc_1").unwrap()).unwrap();
        assert_eq!(eva.email.as_deref(), Some("eva@mail.example"));
        assert_eq!(eva.name.as_deref(), Some("Meier, Eva \"Evi\""));
        assert_eq!(eva.country.as_deref(), Some("DE"));
        assert_eq!(people.len(), 2);
        assert_eq!(People::from_csv(&people.to_csv()).unwrap().0, people);
    }

    #[test]
    fn what_is_wrong_is_said_by_line_and_nobody_is_named() {
        let (people, bad) = read(
            "subject,email,name,country\na,x@y.example,,\na,other@y.example,,\n,z@y.example,,\nb,\"evil@y.example\r\nBcc: all@y.example\",,\nc,not-an-address,,Germany\n",
        );
        assert_eq!(
            bad,
            [
                "line 3: its subject stands there already",
                "line 4: its subject is not 1 to 128 bytes of text",
                "line 5: its email is not an address",
                "line 7: its email is not an address",
                "line 7: its country is not two letters",
            ]
        );
        assert_eq!(people.len(), 3);
        assert_eq!(People::from_csv("email\nx@y.example"), Err(BadPeople::NoHeader));
        assert_eq!(People::from_csv(""), Err(BadPeople::NoHeader));
    }

    #[test]
    fn addresses_that_could_mean_more_than_one_mailbox_are_none() {
        for right in ["a@b.example", "a.b+c@sub.b-c.example", "o'neil@b.example"] {
            assert!(address(right).is_some(), "{right}");
        }
        for wrong in [
            "a",
            "@b.example",
            "a@",
            "a@b",
            "a@b@c.example",
            "a b@c.example",
            "a,b@c.example",
            "<a@b.example>",
            "a@b.example>",
            "a..b@c.example",
            ".a@c.example",
            "a@-b.example",
            "\"a\"@b.example",
            "a@[127.0.0.1]",
            "a@b.example\r\nBcc: c@d.example",
            "ä@b.example",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_reads_back_and_breaks_no_header(text in "(?s).{0,400}") {
            let text = format!("subject,email,name,country\n{text}");
            let Ok((people, _)) = People::from_csv(&text) else {
                prop_assert!(text.contains('"'), "only a quote that is not closed is refused");
                return Ok(());
            };
            prop_assert_eq!(&People::from_csv(&people.to_csv()).unwrap().0, &people);
            for person in people.by_subject.values() {
                for field in [&person.email, &person.name, &person.country].into_iter().flatten() {
                    prop_assert!(!field.contains(['\r', '\n', '\0']));
                }
            }
        }
    }
}
