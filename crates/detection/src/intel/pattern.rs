//! STIX patterns about addresses: comparisons of an address's value, joined by OR. Everything else is not read.

use crate::networks::read_network;
use ipnet::IpNet;

/// Longest pattern.
pub(super) const PATTERN_MAX: usize = 16 << 10;
/// Most networks of one pattern.
const NETWORKS_MAX: usize = 256;

/// The networks that `pattern` speaks of, any of which is what it looks for. None if it asks for anything else, too: a pattern that is
/// understood in half would list networks that its author did not mean alone.
///
/// Source: STIX 2.1 section 9. Read are `ipv4-addr:value` and `ipv6-addr:value` with `=`, `ISSUBSET` and `IN`, OR inside and between
/// observations. Not read: AND, FOLLOWEDBY, NOT, qualifiers, parentheses, other objects.
pub(super) fn networks(pattern: &str) -> Option<Vec<IpNet>> {
    if pattern.len() > PATTERN_MAX {
        return None;
    }
    let mut rest = Tokens(pattern);
    let mut networks = Vec::new();
    loop {
        rest.expect("[")?;
        loop {
            comparison(&mut rest, &mut networks)?;
            match rest.next()? {
                Token::Word("OR") => {}
                Token::Sign("]") => break,
                Token::Word(_) | Token::Sign(_) | Token::Text(_) => return None,
            }
        }
        match rest.next() {
            None if rest.0.is_empty() => return Some(networks),
            Some(Token::Word("OR")) => {}
            _ => return None,
        }
    }
}

fn comparison(rest: &mut Tokens<'_>, networks: &mut Vec<IpNet>) -> Option<()> {
    let Token::Word(object) = rest.next()? else { return None };
    let is_v4 = match object {
        "ipv4-addr:value" => true,
        "ipv6-addr:value" => false,
        _ => return None,
    };
    let mut take = |token| {
        let Token::Text(text) = token else { return None };
        let network = read_network(&text).filter(|_| networks.len() < NETWORKS_MAX)?;
        let fits = is_v4 == matches!(network, IpNet::V4(_)) || text.contains(':');
        fits.then(|| networks.push(network))
    };
    match rest.next()? {
        Token::Sign("=") | Token::Word("ISSUBSET") => take(rest.next()?),
        Token::Word("IN") => {
            rest.expect("(")?;
            loop {
                take(rest.next()?)?;
                match rest.next()? {
                    Token::Sign(",") => {}
                    Token::Sign(")") => return Some(()),
                    Token::Word(_) | Token::Sign(_) | Token::Text(_) => return None,
                }
            }
        }
        Token::Word(_) | Token::Sign(_) | Token::Text(_) => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
    Text(String),
}

/// What is left of the pattern, without white space before it.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    fn expect(&mut self, sign: &'static str) -> Option<()> {
        (self.next()? == Token::Sign(sign)).then_some(())
    }

    /// The next token; none at the end, or if it is none, and then something is left.
    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_start();
        if let Some(quoted) = self.0.strip_prefix('\'') {
            return self.text(quoted);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_:.".contains(c);
        let length = self.0.find(|c| !is_word(c)).unwrap_or(self.0.len());
        let sign = self.0.chars().next()?;
        let (token, rest) =
            self.0.split_at_checked(if length == 0 { sign.len_utf8() } else { length })?;
        let token = match sign {
            _ if length > 0 => Token::Word(token),
            '[' | ']' | '(' | ')' | ',' | '=' => Token::Sign(token),
            _ => return None,
        };
        self.0 = rest;
        Some(token)
    }

    fn text(&mut self, quoted: &'a str) -> Option<Token<'a>> {
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        loop {
            match chars.next()? {
                (at, '\'') => {
                    self.0 = quoted.get(at + 1..)?;
                    return Some(Token::Text(text));
                }
                (_, '\\') => text.push(chars.next()?.1),
                (_, other) => text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: Option<&[&str]>) {
        let expected = expected.map(|nets| nets.iter().map(|n| n.parse().unwrap()).collect());
        assert_eq!(networks(pattern), expected, "{pattern}");
    }

    #[test]
    fn patterns_about_addresses_are_read() {
        check("[ipv4-addr:value = '203.0.113.7']", Some(&["203.0.113.7/32"]));
        check("[ ipv4-addr:value ISSUBSET '198.51.100.9/24' ]", Some(&["198.51.100.0/24"]));
        check("[ipv4-addr:value='203.0.113.0/24']", Some(&["203.0.113.0/24"]));
        check(
            "[ipv4-addr:value = '203.0.113.7' OR ipv6-addr:value = '2001:db8::1'] OR [ipv6-addr:value ISSUBSET '2001:db8:1::/48']",
            Some(&["203.0.113.7/32", "2001:db8::1/128", "2001:db8:1::/48"]),
        );
        check(
            "[ipv4-addr:value IN ('203.0.113.7', '203.0.113.8')]",
            Some(&["203.0.113.7/32", "203.0.113.8/32"]),
        );
    }

    #[test]
    fn what_asks_for_more_than_addresses_is_not_read_in_half() {
        for pattern in [
            "",
            "[",
            "[]",
            "[ipv4-addr:value = '203.0.113.7' AND ipv4-addr:value = '203.0.113.8']",
            "[ipv4-addr:value = '203.0.113.7'] AND [ipv4-addr:value = '203.0.113.8']",
            "[ipv4-addr:value = '203.0.113.7'] FOLLOWEDBY [url:value = 'x']",
            "[ipv4-addr:value = '203.0.113.7'] WITHIN 300 SECONDS",
            "[ipv4-addr:value = '203.0.113.7' OR domain-name:value = 'a.example']",
            "[ipv4-addr:value != '203.0.113.7']",
            "[ipv4-addr:value NOT = '203.0.113.7']",
            "[ipv4-addr:value ISSUPERSET '203.0.113.0/24']",
            "[ipv4-addr:value LIKE '203.0.%']",
            "[ipv4-addr:value = 203]",
            "[ipv4-addr:value = 'a.example']",
            "[ipv4-addr:value = '203.0.113.7'",
            "[ipv4-addr:value = '203.0.113.7\\",
            "[ipv4-addr:value = '203.0.113.7']!",
            "[ipv4-addr:value IN ()]",
            "[ipv6-addr:value = '203.0.113.7']",
            "[network-traffic:dst_ref.value = '203.0.113.7']",
        ] {
            check(pattern, None);
        }
        let long = format!("[{}]", vec!["ipv4-addr:value = '203.0.113.7'"; 300].join(" OR "));
        check(&long, None);
    }
}
