//! The text forms that JSON Schema calls formats, as far as the CycloneDX schemas name them.

use crate::date::{Date, moment};

/// A form of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    DateTime,
    Date,
    Email,
    IriReference,
    Uri,
}

impl Format {
    /// The format a schema calls `name`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "date-time" => Self::DateTime,
            "date" => Self::Date,
            "idn-email" => Self::Email,
            "iri-reference" => Self::IriReference,
            "uri" => Self::Uri,
            _ => return None,
        })
    }

    /// How a message calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DateTime => "an RFC 3339 date and time with an offset",
            Self::Date => "a date of the form `2026-03-01`",
            Self::Email => "an e-mail address",
            Self::IriReference => "a URL or a reference to one",
            Self::Uri => "an absolute URI",
        }
    }

    /// Whether `text` is of this form.
    pub(crate) fn is_of(self, text: &str) -> bool {
        match self {
            Self::DateTime => moment(&in_our_era(text)).is_some(),
            Self::Date => Date::parse(&in_our_era(text)).is_some(),
            Self::Email => is_email(text),
            Self::IriReference => is_iri_reference(text),
            Self::Uri => is_iri_reference(text) && scheme(text).is_some() && text.is_ascii(),
        }
    }
}

/// `text` with a year before 1970 moved by 2000, five whole cycles of the calendar: `0001-01-01T00:00:00Z` is what some tools
/// write for no date, and it has the form.
fn in_our_era(text: &str) -> String {
    let year = text.get(..4).filter(|year| year.bytes().all(|b| b.is_ascii_digit()));
    match year.and_then(|year| year.parse::<u32>().ok()) {
        Some(year) if year < 1970 => format!("{}{}", year + 2000, text.get(4..).unwrap_or("")),
        _ => text.to_owned(),
    }
}

/// RFC 6531 without quoted local parts and address literals, which nobody's contact is.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let local_is_valid = |c: char| {
        c.is_alphanumeric()
            || "!#$%&'*+/=?^_`{|}~-".contains(c)
            || !c.is_ascii() && !c.is_control() && !c.is_whitespace()
    };
    let domain_is_valid = |c: char| c.is_alphanumeric() || c == '-';
    let parts = |text: &str, valid: &dyn Fn(char) -> bool| {
        text.split('.').all(|part| !part.is_empty() && part.chars().all(valid))
    };
    parts(local, &local_is_valid) && parts(domain, &domain_is_valid)
}

/// RFC 3987 section 2.2, `IRI-reference`: its characters, percent-encoding, scheme, and brackets only around an address.
fn is_iri_reference(text: &str) -> bool {
    let before_path = text.find(['/', '?', '#']).unwrap_or(text.len());
    let (head, _) = text.split_at(before_path);
    if head.contains(':') && scheme(text).is_none() {
        return false;
    }
    let rest = scheme(text).map_or(text, |name| text.get(name.len() + 1..).unwrap_or(""));
    let (authority, rest) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let fragments = rest.matches('#').count();
    let brackets = authority.matches(['[', ']']).count();
    text.chars().all(may_stand_in_iri)
        && percent_encoding_is_whole(text)
        && fragments <= 1
        && !rest.contains(['[', ']'])
        && (brackets == 0 || brackets == 2 && authority.contains('[') && authority.contains(']'))
}

fn may_stand_in_iri(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !"\"<>\\^`{|}".contains(c)
}

fn percent_encoding_is_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let mut digits = after.bytes().take(2);
        digits.len() == 2 && digits.all(|digit| digit.is_ascii_hexdigit())
    })
}

/// The scheme `text` begins with, without its colon.
fn scheme(text: &str) -> Option<&str> {
    let (name, _) = text.split_once(':')?;
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    valid.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_any_year() {
        check(
            Format::DateTime,
            &["0001-01-01T00:00:00Z", "2024-02-29T00:00:00+05:30"],
            &["0001-02-29T00:00:00Z", "2020-04-13", ""],
        );
        check(Format::Date, &["1904-02-29", "2026-03-01"], &["1905-02-29", "1.3.2026"]);
    }

    #[test]
    fn email_addresses() {
        check(
            Format::Email,
            &["a@b.c", "a.b+c@example.com", "ärger@exämple.de", "root@localhost"],
            &["", "a", "@b.c", "a@", "a@b@c", "a b@c.d", "a..b@c.d", "a@b..c", "a@b c", "<a@b.c>"],
        );
    }

    #[test]
    fn iri_references() {
        check(
            Format::IriReference,
            &[
                "",
                "https://example.com/a?b=c#d",
                "uri/to/changes.diff",
                "#frag",
                "mailto:a@b.c",
                "urn:cdx:x/1#y",
                "http://[::1]:80/",
                "https://exämple.de/ü",
                "//host/path",
                "a/b:c",
                "git@github.com/x",
            ],
            &[
                "a b",
                "http://a/%zz",
                "http://a/%2",
                "http://a#b#c",
                "1a:b",
                "http://a/<b>",
                "http://a/[b]",
                "\u{7}",
                "http://[::1/",
            ],
        );
    }

    #[test]
    fn uris_are_absolute() {
        check(Format::Uri, &["https://example.com", "urn:a:b"], &["", "a/b", "//host"]);
    }

    fn check(format: Format, valid: &[&str], invalid: &[&str]) {
        for text in valid {
            assert!(format.is_of(text), "{text}");
        }
        for text in invalid {
            assert!(!format.is_of(text), "{text}");
        }
    }
}
