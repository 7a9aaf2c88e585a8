//! `portcullis honey`: subjects that nobody has a reason to read.

use super::{Listed, Session, print};
use crate::keys;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use model::SubjectId;
use std::collections::BTreeSet;
use storage::registry::Command;
use storage::registry::command::{Listing, SubjectText};

/// Decoys that one command plants.
const COUNT_MAX: usize = 1_000;

#[derive(Subcommand)]
pub(crate) enum HoneyCommand {
    /// Declare some: these ids, or new ones that look like samples of yours. Give them to the origin first
    Plant {
        #[arg(required_unless_present = "count")]
        subjects: Vec<String>,
        /// Make so many ids, and print them
        #[arg(long, requires = "like", conflicts_with = "subjects")]
        count: Option<usize>,
        /// An id of yours that new ones are to look like; three or more say best what changes from one to the next
        #[arg(long)]
        like: Vec<String>,
        #[command(flatten)]
        session: Session,
    },
    /// Every one, by its id; that it was asked for is recorded
    List(Listed),
}

impl HoneyCommand {
    pub(super) async fn run(self) -> Result<()> {
        let (subjects, session, made) = match self {
            Self::List(listed) => return listed.run(Listing::Honey).await,
            Self::Plant { subjects, count: None, session, .. } => (subjects, session, false),
            Self::Plant { count: Some(count), like, session, .. } => {
                (ids_like(&like, count)?, session, true)
            }
        };
        for subject in subjects {
            let id = SubjectId::new(&subject)
                .with_context(|| format!("`{subject}` is not a subject id"))?;
            session.send(Command::HoneyPlant { subject: SubjectText(id) }).await?;
            if made {
                print::line(&subject)?;
            }
        }
        Ok(())
    }
}

/// What a place of an id may hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Fixed(char),
    Digit,
    /// Hexadecimal digits, in one case.
    Hex {
        upper: bool,
    },
    Letter {
        upper: bool,
    },
}

impl Place {
    /// What a place may hold that held these.
    fn of(seen: &BTreeSet<char>, is_hex: bool) -> Self {
        let (Some(&first), true) = (seen.first(), seen.iter().any(char::is_ascii_alphanumeric))
        else {
            return Self::Fixed(seen.first().copied().unwrap_or('0'));
        };
        let upper = seen.iter().any(char::is_ascii_uppercase);
        if is_hex && seen.iter().all(char::is_ascii_hexdigit) {
            Self::Hex { upper }
        } else if seen.iter().all(char::is_ascii_digit) {
            Self::Digit
        } else if seen.iter().all(char::is_ascii_alphabetic) {
            Self::Letter { upper }
        } else {
            Self::Fixed(first)
        }
    }

    fn fill(self, random: u8, is_first: bool) -> char {
        let pick = |from: &[u8]| {
            let at = usize::from(random) % from.len().max(1);
            char::from(from.get(at).copied().unwrap_or(b'0'))
        };
        match self {
            Self::Fixed(c) => c,
            // Numbers do not begin with a nought.
            Self::Digit if is_first => pick(b"123456789"),
            Self::Digit => pick(b"0123456789"),
            Self::Hex { upper: false } => pick(b"0123456789abcdef"),
            Self::Hex { upper: true } => pick(b"0123456789ABCDEF"),
            Self::Letter { upper: false } => pick(b"abcdefghijklmnopqrstuvwxyz"),
            Self::Letter { upper: true } => pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        }
    }
}

/// New ids that look like the samples. What stands in all samples stays; of one sample alone its letters stay, unless it is hexadecimal, as
/// a UUID is: its version and variant stay then.
///
/// # Errors
/// If the samples differ in length, or leave too little to vary.
fn ids_like(samples: &[String], count: usize) -> Result<Vec<String>> {
    let Some(first) = samples.first() else { bail!("`--like` gives an id to look like") };
    if count == 0 || count > COUNT_MAX {
        bail!("between one and {COUNT_MAX} at a time");
    }
    let length = first.chars().count();
    if samples.iter().any(|sample| sample.chars().count() != length || !sample.is_ascii()) {
        bail!("samples are ASCII and of one length; plant ids of another length on their own");
    }
    let body =
        |sample: &String| sample.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>();
    let is_hex = samples.iter().all(|sample| {
        let body = body(sample);
        body.len() >= 16
            && body.chars().all(|c| c.is_ascii_hexdigit())
            && body.chars().any(|c| c.is_ascii_alphabetic())
    });
    let is_uuid = is_hex && first.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let place = |at: usize| {
        let seen: BTreeSet<char> =
            samples.iter().filter_map(|sample| sample.chars().nth(at)).collect();
        let only = if seen.len() == 1 { seen.first().copied() } else { None };
        match only {
            // RFC 9562 section 4: where version and variant stand.
            Some(c) if is_uuid && at == 14 => Place::Fixed(c),
            _ if is_uuid && at == 19 => Place::Fixed(first.chars().nth(at).unwrap_or('8')),
            Some(c) if samples.len() > 2 => Place::Fixed(c),
            Some(c) if !is_hex && !c.is_ascii_digit() => Place::Fixed(c),
            _ => Place::of(&seen, is_hex),
        }
    };
    let places: Vec<Place> = (0..length).map(place).collect();
    let free = places.iter().filter(|place| !matches!(place, Place::Fixed(_))).count();
    if free < 4 {
        bail!("ids that look like these leave no room for {count} that are nobody's");
    }
    let first_free = places.iter().position(|place| !matches!(place, Place::Fixed(_)));
    let mut ids = BTreeSet::new();
    for _ in 0..count.saturating_mul(20) {
        let random: Vec<u8> =
            (0..length).map(|_| keys::random::<1>().map(|[r]| r)).collect::<Result<_>>()?;
        let fill = |(at, (place, random)): (usize, (&Place, u8))| {
            place.fill(random, first_free == Some(at))
        };
        let id: String = places.iter().zip(random).enumerate().map(fill).collect();
        if !samples.contains(&id) {
            ids.insert(id);
        }
        if ids.len() == count {
            return Ok(ids.into_iter().collect());
        }
    }
    bail!("ids that look like these leave no room for {count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(samples: &[&str]) -> Vec<String> {
        let samples: Vec<_> = samples.iter().map(|&sample| sample.to_owned()).collect();
        ids_like(&samples, 50).unwrap()
    }

    #[test]
    fn ids_have_the_shape_of_the_samples() {
        for id in like(&["p-0017123", "p-4417123", "p-9036218"]) {
            let digits = id.strip_prefix("p-").unwrap();
            assert!(digits.len() == 7 && digits.bytes().all(|b| b.is_ascii_digit()), "{id}");
        }
        for id in like(&["cus_a8K402L7"]) {
            assert!(id.starts_with("cus_a") && id.len() == 12, "{id}");
        }
        for id in like(&["018f3c9e-5a70-7c41-9d2b-0a1b2c3d4e5f"]) {
            assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert_eq!((&id[14..15], &id[19..20]), ("7", "9"), "{id}");
            assert!(
                id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
            );
        }
    }

    #[test]
    fn samples_that_say_too_little_are_refused() {
        let refused = |samples: &[&str], count| {
            let samples: Vec<_> = samples.iter().map(|&sample| sample.to_owned()).collect();
            assert!(ids_like(&samples, count).is_err(), "{samples:?}");
        };
        refused(&[], 1);
        refused(&["ab"], 1);
        refused(&["p-1234", "p-12345"], 1);
        refused(&["p-1234"], 0);
        refused(&["p-12345678"], COUNT_MAX + 1);
    }
}
