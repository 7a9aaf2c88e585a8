//! The form of a token request, read strictly: `application/x-www-form-urlencoded`, each parameter once.

use std::collections::BTreeMap;

/// Longest accepted body. An assertion is at most 4 KiB.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Most parameters, known or not: a consent page has one for each of 256 classes at most.
const PARAMETERS_MAX: usize = 272;

/// The parameters that were sent with a value.
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// `None` if a parameter stands twice, an escape or the UTF-8 is broken, or it is too long.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let mut parameters = BTreeMap::new();
        for pair in std::str::from_utf8(body).ok()?.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            //= RFC 6749 section 3.2: parameters must not be included more than once
            let twice = parameters.insert(decode(name)?, decode(value)?).is_some();
            if twice || parameters.len() > PARAMETERS_MAX {
                return None;
            }
        }
        //= RFC 6749 section 3.2: a parameter without a value is treated as if it were omitted
        parameters.retain(|_, value| !value.is_empty());
        Some(Self(parameters))
    }

    //= RFC 6749 section 3.2: unknown parameters are ignored: nobody asks for them
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match *first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (escape, tail) = rest.split_at_checked(2)?;
                let [high, low] = escape else { return None };
                let digit = |digit: u8| char::from(digit).to_digit(16);
                bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = tail;
            }
            byte if byte.is_ascii_graphic() => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Option<Vec<(String, String)>> {
        Form::parse(body.as_bytes()).map(|form| form.0.into_iter().collect())
    }

    fn one(name: &str, value: &str) -> Option<Vec<(String, String)>> {
        Some(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn parameters_are_decoded_and_empty_ones_left_out() {
        assert_eq!(read("a=b"), one("a", "b"));
        assert_eq!(read("a=b+c%20d%2B%c3%a9&&e=&f"), one("a", "b c d+\u{e9}"));
        assert_eq!(read("a=b=c"), one("a", "b=c"));
        assert_eq!(read(""), Some(vec![]));
    }

    #[test]
    fn anything_ambiguous_is_refused() {
        for body in
            ["a=1&a=1", "a=1&a=", "a=1&%61=2", "a=%", "a=%1", "a=%+1", "a=%ff", "a=b c", "a=\u{e9}"]
        {
            assert_eq!(read(body), None, "{body}");
        }
        assert_eq!(read(&"a".repeat(BODY_BYTES_MAX + 1)), None);
        let many: String = (0..=PARAMETERS_MAX).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(read(&many), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body: Vec<u8>) {
            Form::parse(&body);
        }

        #[test]
        fn what_is_encoded_is_read_back(value in "\\PC{1,20}") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(read(&format!("a={encoded}")), one("a", &value));
        }
    }
}
