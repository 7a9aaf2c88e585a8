//! STIX 2.1: indicators and the markings they refer to, out of bundles and TAXII envelopes.

use super::{
    BadList, FOREVER, Indicator, LeftOut, Level, Reading, Terms, Tlp, line_of, moment, pattern,
};
use model::UnixMicros;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Most objects of one list, indicators and markings: as many as a list may name networks.
const OBJECTS_MAX: usize = super::INDICATORS_MAX;
/// Bytes of an id: `marking-definition--` and a UUID are 56.
const ID_MAX: usize = 128;
/// Markings of one object that are looked at.
const MARKINGS_MAX: usize = 16;

/// The markings that the standards fixed. Source: STIX 2.1 section 7.2.1.4 (TLP 1), OASIS common objects (TLP 2).
const FIXED: [(&str, Tlp); 9] = [
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Tlp::Clear),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", Tlp::Green),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", Tlp::Amber),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Tlp::Clear),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", Tlp::Green),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", Tlp::Amber),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", Tlp::AmberStrict),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", Tlp::Red),
];

/// The newest version of each indicator, and the markings that are defined.
///
/// Grows as pages come in. Which came first does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    indicators: BTreeMap<String, Version>,
    markings: BTreeMap<String, Tlp>,
    left_out: LeftOut,
    seen: usize,
}

/// One version of an indicator. The order is the order of precedence: the last modified is the one that holds; of two of the same moment
/// the one that was taken back, so that no order of arrival brings an indicator back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    modified: UnixMicros,
    revoked: bool,
    pattern: String,
    from: UnixMicros,
    until: UnixMicros,
    confidence: Option<u8>,
    benign: bool,
    anonymiser: bool,
    name: Option<Box<str>>,
    markings: Vec<String>,
}

/// The members that are read, of whatever object; all others are passed over.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    modified: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    created: Option<Cow<'a, str>>,
    #[serde(default)]
    revoked: bool,
    #[serde(borrow, default)]
    pattern: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pattern_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    valid_from: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    valid_until: Option<Cow<'a, str>>,
    #[serde(default)]
    confidence: Option<u8>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    indicator_types: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    object_marking_refs: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    definition: Option<&'a RawValue>,
    #[serde(borrow, default)]
    extensions: Option<&'a RawValue>,
}

/// What a page of a TAXII collection says beside its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Whether there is more.
    pub more: bool,
    /// How to ask for it.
    pub next: Option<String>,
}

impl Objects {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`BadList`].
    pub fn read(text: &str) -> Result<Self, BadList> {
        let mut objects = Self::default();
        let envelope = objects.take(text)?;
        if envelope.kind.as_deref() != Some("bundle") {
            return Err(BadList::Shape("a STIX bundle"));
        }
        Ok(objects)
    }

    /// Takes in a page of a TAXII collection.
    ///
    /// # Errors
    /// [`BadList`]; what was taken in before the error stays, so the whole is to be dropped.
    pub fn page(&mut self, text: &str) -> Result<Page, BadList> {
        let envelope = self.take(text)?;
        let next = envelope.next.map(Cow::into_owned);
        Ok(Page { more: envelope.more, next })
    }

    fn take<'a>(&mut self, text: &'a str) -> Result<Envelope<'a>, BadList> {
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|_| BadList::Shape("a STIX bundle or envelope"))?;
        let Some(list) = envelope.objects else { return Ok(envelope) };
        let mut failed = None;
        let each = |raw: &'a RawValue| match self.object(raw.get()) {
            Ok(()) => true,
            Err(bad) => {
                failed = Some(bad);
                false
            }
        };
        let read = serde_json::Deserializer::from_str(list.get()).deserialize_seq(Each(each));
        match (failed, read) {
            (Some(bad), _) => Err(bad),
            (None, Ok(())) => Ok(envelope),
            (None, Err(_)) => Err(BadList::Shape("a STIX bundle or envelope")),
        }
    }

    /// Takes in one object. One that cannot be read is counted, and the others are read.
    fn object(&mut self, text: &str) -> Result<(), BadList> {
        self.seen += 1;
        let Ok(object) = serde_json::from_str::<Object<'_>>(text) else {
            self.left_out.bad(self.seen, text);
            return Ok(());
        };
        if object.id.len() > ID_MAX {
            self.left_out.bad(self.seen, text);
            return Ok(());
        }
        match &*object.kind {
            "indicator" => {
                let Some(version) = object.version() else {
                    self.left_out.bad(self.seen, text);
                    return Ok(());
                };
                let known = self.indicators.get_mut(&*object.id);
                match known {
                    Some(known) if *known < version => *known = version,
                    Some(_) => {}
                    None => {
                        self.room()?;
                        self.indicators.insert(object.id.into_owned(), version);
                    }
                }
            }
            "marking-definition" => {
                if let Some(tlp) = object.tlp() {
                    self.room()?;
                    // Who defines one marking twice means the stricter.
                    let known = self.markings.entry(object.id.into_owned()).or_insert(tlp);
                    *known = tlp.max(*known);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn room(&self) -> Result<(), BadList> {
        let full = self.indicators.len() + self.markings.len() >= OBJECTS_MAX;
        if full { Err(BadList::Many) } else { Ok(()) }
    }

    /// What these objects list.
    ///
    /// # Errors
    /// [`BadList::Many`].
    pub fn reading(&self, terms: Terms) -> Result<Reading, BadList> {
        let mut reading = Reading { indicators: Vec::new(), left_out: self.left_out.clone() };
        for version in self.indicators.values() {
            let left_out = &mut reading.left_out;
            if version.revoked {
                left_out.revoked += 1;
                continue;
            }
            let level = version.confidence.map_or(Some(terms.level), Level::of_confidence);
            let Some(level) = level.filter(|_| !version.benign) else {
                left_out.doubted += 1;
                continue;
            };
            // Who hides is not yet somebody to refuse.
            let highest = if version.anonymiser { Level::WEIGHS } else { terms.level };
            let tlp = self.marked(&version.markings);
            if tlp > terms.tlp {
                left_out.too_strict += 1;
                continue;
            }
            let Some(networks) = pattern::networks(&version.pattern) else {
                left_out.unsupported += 1;
                continue;
            };
            for network in networks {
                reading.push(Indicator {
                    network,
                    level: level.min(terms.level).min(highest),
                    from: version.from,
                    until: version.until,
                    tlp,
                    why: version.name.clone(),
                })?;
            }
        }
        Ok(reading)
    }

    /// The strictest of these markings. One that nobody defined may mean anything, so it is taken for the strictest but one: what is said
    /// stays inside.
    fn marked(&self, markings: &[String]) -> Tlp {
        let of = |id: &String| {
            let fixed = FIXED.iter().find(|(known, _)| known == id).map(|(_, tlp)| *tlp);
            fixed.or_else(|| self.markings.get(id).copied()).unwrap_or(Tlp::AmberStrict)
        };
        markings.iter().map(of).max().unwrap_or(Tlp::Clear)
    }

    /// As a bundle that [`Objects::read`] takes, with nothing in it that is not read.
    pub fn to_bundle(&self) -> String {
        let time = |time: UnixMicros| (time != FOREVER).then(|| time.to_string());
        let indicators = self.indicators.iter().map(|(id, version)| {
            let Version { pattern, confidence, revoked, name, markings, .. } = version;
            let types = [(version.benign, "benign"), (version.anonymiser, "anonymization")];
            let types: Vec<_> = types.iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
            json!({
                "type": "indicator",
                "id": id,
                "modified": version.modified.to_string(),
                "pattern_type": "stix",
                "pattern": pattern,
                "valid_from": version.from.to_string(),
                "valid_until": time(version.until),
                "confidence": confidence,
                "revoked": revoked,
                "name": name,
                "indicator_types": types,
                "object_marking_refs": markings,
            })
        });
        let markings = self.markings.iter().map(|(id, tlp)| {
            json!({ "type": "marking-definition", "id": id, "definition": { "tlp": tlp.as_str() } })
        });
        let objects: Vec<_> = markings.chain(indicators).collect();
        json!({ "type": "bundle", "objects": objects }).to_string()
    }
}

impl Object<'_> {
    /// None if a member that limits the indicator cannot be read.
    fn version(&self) -> Option<Version> {
        let time = |text: &Option<Cow<'_, str>>, without: UnixMicros| {
            text.as_deref().map_or(Some(without), moment)
        };
        let created = time(&self.created, UnixMicros(0))?;
        if self.confidence.is_some_and(|confidence| confidence > 100) {
            return None;
        }
        // Another language's pattern says nothing here, and neither does one that is too long to be read.
        let pattern = self.pattern.as_deref().filter(|pattern| {
            self.pattern_type.as_deref().is_none_or(|kind| kind == "stix")
                && pattern.len() <= pattern::PATTERN_MAX
        });
        let types = |name: &str| self.indicator_types.iter().any(|kind| kind == name);
        let bad =
            ["malicious-activity", "compromised", "attribution"].iter().any(|kind| types(kind));
        Some(Version {
            modified: time(&self.modified, created)?,
            revoked: self.revoked,
            pattern: pattern.unwrap_or_default().to_owned(),
            from: time(&self.valid_from, UnixMicros(0))?,
            until: time(&self.valid_until, FOREVER)?,
            confidence: self.confidence,
            benign: types("benign") && !bad,
            anonymiser: types("anonymization") && !bad,
            name: self.name.as_deref().and_then(line_of),
            markings: self
                .object_marking_refs
                .iter()
                .take(MARKINGS_MAX)
                .map(|id| id.chars().take(ID_MAX).collect())
                .collect(),
        })
    }

    /// The TLP that a marking defines: in the old way, or by the extension of TLP 2.
    fn tlp(&self) -> Option<Tlp> {
        #[derive(Deserialize)]
        struct Old<'a> {
            #[serde(borrow)]
            tlp: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct New<'a> {
            #[serde(borrow)]
            tlp_2_0: Cow<'a, str>,
        }
        let old = self.definition.and_then(|raw| serde_json::from_str::<Old<'_>>(raw.get()).ok());
        if let Some(old) = old {
            return old.tlp.parse().ok();
        }
        let extensions: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(self.extensions?.get()).ok()?;
        let mut new =
            extensions.values().filter_map(|raw| serde_json::from_str::<New<'_>>(raw.get()).ok());
        new.next()?.tlp_2_0.parse().ok()
    }
}

/// A bundle or an envelope, its objects not yet read.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    objects: Option<&'a RawValue>,
    #[serde(default)]
    more: bool,
    #[serde(borrow, default)]
    next: Option<Cow<'a, str>>,
}

/// Gives the members of an array one by one, until it is told that that is enough: the whole array is never in memory.
struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(raw) = members.next_element()? {
            if !(self.0)(raw) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
