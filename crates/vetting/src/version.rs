//! Which of two versions is later, by the rules of their ecosystem.
//!
//! A version that does not follow its ecosystem's rules has no order, and whoever asks must take that for the worst.

use std::cmp::Ordering;

/// The rules that order versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Semantic Versioning 2.0.0; a leading `v` and missing minor and patch numbers are allowed.
    Semver,
    /// PEP 440.
    Pep440,
    /// Runs of digits and letters, compared one by one: close to what Maven, Packagist and Debian do.
    Segments,
    /// The same, but every word announces a release, as RubyGems and NuGet have it.
    Announced,
}

impl Order {
    /// The order of versions in `ecosystem`, as OSV names it.
    pub(crate) fn of_ecosystem(ecosystem: &str) -> Self {
        match ecosystem {
            "npm" | "crates.io" | "Go" | "Hex" | "Pub" | "SwiftURL" => Self::Semver,
            "PyPI" => Self::Pep440,
            "RubyGems" | "NuGet" => Self::Announced,
            _ => Self::Segments,
        }
    }

    /// How `left` stands to `right`; `None` if either has no place in this order.
    pub(crate) fn compare(self, left: &str, right: &str) -> Option<Ordering> {
        match self {
            Self::Semver => Some(semver(left)?.cmp_precedence(&semver(right)?)),
            Self::Pep440 => Some(pep440(left)?.cmp(&pep440(right)?)),
            Self::Segments => compare_segments(left, right, false),
            Self::Announced => compare_segments(left, right, true),
        }
    }
}

fn semver(text: &str) -> Option<semver::Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let numbers_end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(numbers_end);
    let missing = match numbers.split('.').count() {
        1 => ".0.0",
        2 => ".0",
        _ => "",
    };
    semver::Version::parse(&format!("{numbers}{missing}{rest}")).ok()
}

/// The key that PEP 440 orders versions by, member by member.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pep440 {
    epoch: u64,
    /// Without zeros at its end.
    release: Vec<u64>,
    /// A development release of nothing, then `a`, `b`, `rc`, then none; and its number.
    pre: (u8, u64),
    post: Option<u64>,
    /// Before what it develops, so none comes last.
    dev: (bool, u64),
    local: Option<Vec<Local>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Text(String),
    Number(u64),
}

/// Source: PEP 440, Appendix B and "Summary of permitted suffixes and relative ordering".
fn pep440(text: &str) -> Option<Pep440> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix('v').unwrap_or(&text);
    let (public, local) = match text.split_once('+') {
        Some((public, local)) => (public, Some(local)),
        None => (text, None),
    };
    let (epoch, public) = match public.split_once('!') {
        Some((epoch, rest)) => (whole_number(epoch)?, rest),
        None => (0, public),
    };
    let release_end =
        public.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(public.len());
    let (numbers, mut rest) = public.split_at(release_end);
    // `1.0.dev1`: the last dot belongs to the suffix.
    let numbers = numbers.strip_suffix('.').filter(|_| !rest.is_empty()).unwrap_or(numbers);
    let mut release = numbers.split('.').map(whole_number).collect::<Option<Vec<u64>>>()?;
    while release.last() == Some(&0) {
        release.pop();
    }

    const PRE: &[(&str, u8)] = &[
        ("alpha", 1),
        ("a", 1),
        ("beta", 2),
        ("b", 2),
        ("preview", 3),
        ("pre", 3),
        ("rc", 3),
        ("c", 3),
    ];
    let pre = take_suffix(&mut rest, PRE)?;
    let mut post = take_suffix(&mut rest, &[("post", 0), ("rev", 0), ("r", 0)])?.map(|(_, n)| n);
    if post.is_none()
        && let Some(number) = rest.strip_prefix('-')
        && number.starts_with(|c: char| c.is_ascii_digit())
    {
        //= PEP 440, "Implicit post releases": `1.0-1` is `1.0.post1`
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (digits, after) = number.split_at(end);
        post = Some(whole_number(digits)?);
        rest = after;
    }
    let dev = take_suffix(&mut rest, &[("dev", 0)])?.map(|(_, n)| n);
    if !rest.is_empty() {
        return None;
    }
    let pre = match pre {
        Some(pre) => pre,
        None if post.is_none() && dev.is_some() => (0, 0),
        None => (4, 0),
    };
    let dev = dev.map_or((true, 0), |number| (false, number));
    let local = local.map(local_parts);
    if local.as_ref().is_some_and(Option::is_none) {
        return None;
    }
    Some(Pep440 { epoch, release, pre, post, dev, local: local.flatten() })
}

/// Takes one of `names` with its number off the front of `rest`. `None` if the number is too large, `Some(None)` if none of them is there.
#[expect(clippy::option_option, reason = "absent and malformed are two things")]
fn take_suffix(rest: &mut &str, names: &[(&str, u8)]) -> Option<Option<(u8, u64)>> {
    let separators = ['.', '-', '_'];
    let bare = rest.strip_prefix(separators).unwrap_or(rest);
    let Some((after, rank)) =
        names.iter().find_map(|(name, rank)| Some((bare.strip_prefix(name)?, *rank)))
    else {
        return Some(None);
    };
    //= PEP 440, "Pre-release separators": one may stand between the word and its number, even if there is no number
    let digits_of = after.strip_prefix(separators).unwrap_or(after);
    let end = digits_of.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits_of.len());
    let (digits, after) = digits_of.split_at(end);
    *rest = after;
    let number = if digits.is_empty() { 0 } else { whole_number(digits)? };
    Some(Some((rank, number)))
}

fn local_parts(text: &str) -> Option<Vec<Local>> {
    text.split(['.', '-', '_'])
        .map(|part| match whole_number(part) {
            Some(number) => Some(Local::Number(number)),
            None if !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Some(Local::Text(part.to_owned()))
            }
            None => None,
        })
        .collect()
}

fn whole_number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A part of a version, in the order the parts have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'a> {
    /// `~`: before everything, even the end (Debian policy 5.6.12).
    Tilde,
    /// A word that announces a release, by how near it is.
    Before(u8),
    /// Any other word, where every word announces a release.
    Announced(&'a str),
    /// Nothing more, the number 0, or a word for the release itself.
    End,
    /// Any other word.
    Word(&'a str),
    /// A number above 0: how many digits it has, then the digits.
    Number(usize, &'a str),
}

/// Compares epochs, then what stands before the revision, then revisions.
fn compare_segments(left: &str, right: &str, words_announce: bool) -> Option<Ordering> {
    let (left, right) = (left.to_ascii_lowercase(), right.to_ascii_lowercase());
    let (left_epoch, left) = epoch(&left)?;
    let (right_epoch, right) = epoch(&right)?;
    let (left, left_revision) = revision(left);
    let (right, right_revision) = revision(right);
    let parts = |left, right| part_by_part(left, right, words_announce);
    let order = left_epoch.cmp(&right_epoch).then_with(|| parts(left, right));
    Some(order.then_with(|| parts(left_revision, right_revision)))
}

/// Compares part by part, as if each text went on with [`Segment::End`] for ever: so `1.0` is `1.0.0` and after `1.0-rc1`.
fn part_by_part(left: &str, right: &str, words_announce: bool) -> Ordering {
    let (left, right) = (segments(left, words_announce), segments(right, words_announce));
    let part = |of: &'_ [_], place| of.get(place).copied().unwrap_or(Segment::End);
    let places = 0..left.len().max(right.len());
    places.fold(Ordering::Equal, |order, place| {
        order.then_with(|| part(&left, place).cmp(&part(&right, place)))
    })
}

/// Splits at the last hyphen before a digit: what follows is a packager's revision (Debian policy 5.6.12), so `2.30-2` is before `2.30.1-1`.
fn revision(text: &str) -> (&str, &str) {
    match text.rsplit_once('-') {
        Some((before, revision)) if revision.starts_with(|c: char| c.is_ascii_digit()) => {
            (before, revision)
        }
        _ => (text, ""),
    }
}

/// The epoch before a colon (Debian policy 5.6.12), and the rest, which must begin with a digit.
fn epoch(text: &str) -> Option<(u64, &str)> {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (whole_number(epoch)?, rest),
        None => (0, text),
    };
    let rest = rest.strip_prefix('v').unwrap_or(rest);
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some((epoch, rest))
}

fn segments(mut text: &str, words_announce: bool) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    while let Some(first) = text.chars().next() {
        let same = |c: char| {
            if first.is_ascii_digit() { c.is_ascii_digit() } else { c.is_alphabetic() }
        };
        let end = text.find(|c: char| !same(c)).unwrap_or(text.len()).max(first.len_utf8());
        let (run, rest) = text.split_at(end);
        text = rest;
        if first == '~' {
            segments.push(Segment::Tilde);
        } else if first.is_ascii_digit() {
            segments.push(match run.trim_start_matches('0') {
                "" => Segment::End,
                digits => Segment::Number(digits.len(), digits),
            });
        } else if first.is_alphabetic() {
            segments.push(match run {
                "dev" | "snapshot" => Segment::Before(0),
                "a" | "alpha" => Segment::Before(1),
                "b" | "beta" => Segment::Before(2),
                "m" | "milestone" => Segment::Before(3),
                "rc" | "cr" | "pre" | "preview" => Segment::Before(4),
                "final" | "ga" | "release" => Segment::End,
                word if words_announce => Segment::Announced(word),
                word => Segment::Word(word),
            });
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn semantic_versions() {
        ascending(
            Order::Semver,
            &[
                "0.9",
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1",
                "1",
                "v1.0.1",
                "1.2",
                "1.10.0",
            ],
        );
        equal(
            Order::Semver,
            &[
                ("1.0.0+a", "1.0.0+b"),
                ("v1.2.3", "1.2.3"),
                ("1", "1.0.0"),
                ("1-rc.1", "1.0.0-rc.1"),
            ],
        );
        without_order(
            Order::Semver,
            &["", "a", "1.2.3.4", "1.x", "01.2.3", "latest", "99999999999999999999.0.0"],
        );
    }

    #[test]
    fn python_versions() {
        // The first half is the example in PEP 440 itself.
        ascending(
            Order::Pep440,
            &[
                "1.dev0",
                "1.0.dev456",
                "1.0a1",
                "1.0a2.dev456",
                "1.0a12.dev456",
                "1.0a12",
                "1.0b1.dev456",
                "1.0b2",
                "1.0b2.post345.dev456",
                "1.0b2.post345",
                "1.0rc1.dev456",
                "1.0rc1",
                "1.0",
                "1.0+abc.5",
                "1.0+abc.7",
                "1.0+5",
                "1.0.post456.dev34",
                "1.0.post456",
                "1.0.15",
                "1.1.dev1",
                "1.10",
                "1!0.1",
            ],
        );
        equal(
            Order::Pep440,
            &[
                ("1.0", "1"),
                ("1.0.0", "v1.0"),
                ("1.0-alpha.1", "1.0a1"),
                ("1.0c1", "1.0RC1"),
                ("1.0-1", "1.0.post1"),
                ("1.0.r2", "1.0.post2"),
                ("1.0+a-b", "1.0+a.b"),
                ("1.0a", "1.0a0"),
                ("1.0a.", "1.0a0"),
                ("1.0a..dev1", "1.0a.dev1"),
            ],
        );
        without_order(
            Order::Pep440,
            &[
                "",
                "abc",
                "1.0x",
                "1..0",
                "1.0+",
                "1.0+a..b",
                "1.0!",
                "1.0-",
                "1.0 beta",
                "1.99999999999999999999",
            ],
        );
    }

    #[test]
    fn other_versions() {
        ascending(
            Order::Segments,
            &[
                "1.0~rc1-1",
                "1.0-dev",
                "1.0-alpha-1",
                "1.0-beta1",
                "1.0-M2",
                "1.0-rc1",
                "1.0",
                "1.0-1",
                "1.0-2",
                "1.0.1-1",
                "1.0.1-1.1",
                "1.2",
                "1.10",
                "20250101",
                "1:0.1",
            ],
        );
        ascending(Order::Segments, &["1.0-rc1", "1.0", "1.0-jre"]);
        ascending(Order::Announced, &["1.0-rc1", "1.0-jre", "1.0-nightly", "1.0", "1.0.0.1"]);
        ascending(Order::Segments, &["2.30-2", "2.30.1-1", "2.30.1-2"]);
        equal(
            Order::Segments,
            &[
                ("1.0", "1.0.0"),
                ("1.0.Final", "1.0"),
                ("1.0-RC1", "1.0.rc.1"),
                ("v1.2", "1.2"),
                ("01.2", "1.2"),
            ],
        );
        without_order(Order::Segments, &["", "latest", "x:1", "-1"]);
    }

    proptest! {
        #[test]
        fn every_order_is_one(a in "[0-9v.!:~+abrcdevpost-]{0,12}", b in "[0-9][0-9.abrc~-]{0,8}", c in "[0-9][0-9.abrc~-]{0,8}") {
            for order in [Order::Semver, Order::Pep440, Order::Segments, Order::Announced] {
                prop_assert_eq!(order.compare(&a, &b), order.compare(&b, &a).map(Ordering::reverse));
                if order.compare(&a, &b) == Some(Ordering::Less) && order.compare(&b, &c) == Some(Ordering::Less) {
                    prop_assert_eq!(order.compare(&a, &c), Some(Ordering::Less));
                }
            }
        }
    }

    fn ascending(order: Order, versions: &[&str]) {
        for (place, left) in versions.iter().enumerate() {
            for right in &versions[place + 1..] {
                assert_eq!(order.compare(left, right), Some(Ordering::Less), "{left} < {right}");
                assert_eq!(order.compare(right, left), Some(Ordering::Greater), "{right} > {left}");
            }
        }
    }

    fn equal(order: Order, pairs: &[(&str, &str)]) {
        for (left, right) in pairs {
            assert_eq!(order.compare(left, right), Some(Ordering::Equal), "{left} = {right}");
        }
    }

    fn without_order(order: Order, versions: &[&str]) {
        for version in versions {
            assert_eq!(order.compare(version, "1.0.0"), None, "{version}");
        }
    }
}
