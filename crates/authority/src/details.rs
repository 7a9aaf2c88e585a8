//! `authorization_details` (RFC 9396): what a client asks a subject to agree to, and what the subject agreed to.
//!
//! One element of one type, for one grant of the operator's, because a token is for one grant (decision 0006). `actions` are
//! operations, `datatypes` data classes; a class stands for those below it.

use model::{
    ClassSet, ClassTable, DataClass, Directory, Grant, GrantId, IntegrationId, Micros, OperationId,
    SubjectScope, UnixMicros,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The one `type`.
pub const TYPE: &str = "portcullis_access";

/// Longest accepted text.
const BYTES_MAX: usize = 8 * 1024;

/// A consent lasts at most this long: 180 days, after which the subject is asked again.
pub const LIFE_MAX: Micros = Micros::from_secs(180 * 86_400);

/// What is asked for, or agreed to: a part of one grant, until a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The grant it is within.
    pub grant: GrantId,
    /// Which of its operations.
    pub operations: BTreeSet<OperationId>,
    /// Which of its classes.
    pub classes: ClassSet,
    /// The first moment at which it is over.
    pub expires: UnixMicros,
}

/// What is wrong with `authorization_details`; the client is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDetails {
    /// Not a JSON array of one object, or a member has another type than it must have, or is unknown.
    #[error("authorization_details is not one object with the members that are known here")]
    Malformed,
    /// Another `type`.
    #[error("the type of authorization_details is not portcullis_access")]
    Type,
    /// `locations` names anything but the gateway.
    #[error("the location is not served here")]
    Location,
    /// `grant` is no running grant of this client to single subjects, or it is left out and there are none or several.
    #[error("grant is not one running grant of this client that subjects consent to")]
    Grant,
    /// `purpose` is another one than the grant's.
    #[error("the purpose is not the grant's")]
    Purpose,
    /// An action that the grant does not cover.
    #[error("an action is not in the grant")]
    Action,
    /// A data type that the grant does not cover.
    #[error("a datatype is not in the grant")]
    Datatype,
    /// `expires` is no time, is past, or is later than the grant or 180 days.
    #[error("expires is not a time at which this grant runs")]
    Expires,
}

//= RFC 9396 section 5: unknown types, unknown fields and values of the wrong type are refused
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Element {
    r#type: String,
    locations: Option<Vec<String>>,
    grant: Option<String>,
    actions: Option<BTreeSet<String>>,
    datatypes: Option<BTreeSet<String>>,
    purpose: Option<String>,
    expires: Option<String>,
}

impl Details {
    /// Reads what a client asks for. `resource`: the only location. What is left out means all that the grant covers.
    ///
    /// # Errors
    /// [`BadDetails`].
    ///
    /// Source: RFC 9396 sections 2 and 5.
    pub fn parse(
        text: &str,
        integration: IntegrationId,
        directory: &Directory,
        classes: &ClassTable,
        resource: &str,
        now: UnixMicros,
    ) -> Result<Self, BadDetails> {
        if text.len() > BYTES_MAX {
            return Err(BadDetails::Malformed);
        }
        let elements: Vec<Element> =
            serde_json::from_str(text).map_err(|_| BadDetails::Malformed)?;
        let [element] = &elements[..] else { return Err(BadDetails::Malformed) };
        //= RFC 9396 section 2: each element has a type that is known
        if element.r#type != TYPE {
            return Err(BadDetails::Type);
        }
        //= RFC 9396 section 2.2: locations are those we issue tokens for
        if element.locations.as_ref().is_some_and(|all| all.iter().any(|one| one != resource)) {
            return Err(BadDetails::Location);
        }
        let grant = grant(element, integration, directory, now)?;
        let operations = match &element.actions {
            None => grant.operations.clone(),
            Some(actions) => {
                let known = actions.iter().map(|action| {
                    OperationId::new(action).filter(|id| grant.operations.contains(id))
                });
                known.collect::<Option<BTreeSet<_>>>().ok_or(BadDetails::Action)?
            }
        };
        let asked = match &element.datatypes {
            None => grant.classes,
            Some(datatypes) => {
                let mut asked = ClassSet::EMPTY;
                for datatype in datatypes {
                    let class = DataClass::new(datatype).ok_or(BadDetails::Datatype)?;
                    let covered = classes.covered_by(&class);
                    if covered.is_empty() || !covered.is_subset(&grant.classes) {
                        return Err(BadDetails::Datatype);
                    }
                    asked = asked.union(&covered);
                }
                asked
            }
        };
        if operations.is_empty() {
            return Err(BadDetails::Action);
        }
        let latest = grant.expires.min(now + LIFE_MAX);
        let expires = match &element.expires {
            None => latest,
            Some(text) => UnixMicros::parse(text).ok_or(BadDetails::Expires)?,
        };
        if expires <= now || expires > latest {
            return Err(BadDetails::Expires);
        }
        Ok(Self { grant: grant.id, operations, classes: asked, expires })
    }

    /// Whether this is no more than `other`: what a subject may make of what it is asked, and a client of what it was given.
    pub fn is_within(&self, other: &Self) -> bool {
        //= RFC 9396 section 6: what was given is never widened
        self.grant == other.grant
            && self.operations.is_subset(&other.operations)
            && self.classes.is_subset(&other.classes)
            && self.expires <= other.expires
    }

    /// As it stands in token responses and introspection (RFC 9396 sections 7 and 9).
    pub fn to_json(&self, directory: &Directory, classes: &ClassTable, resource: &str) -> Value {
        let purpose = directory.grants.get(&self.grant).map(|grant| grant.purpose.as_str());
        json!([{
            "type": TYPE,
            "locations": [resource],
            "grant": self.grant.to_string(),
            "actions": self.operations.iter().map(OperationId::as_str).collect::<Vec<_>>(),
            "datatypes": classes.names(&self.classes),
            "purpose": purpose,
            "expires": self.expires.to_string(),
        }])
    }
}

fn grant<'d>(
    element: &Element,
    integration: IntegrationId,
    directory: &'d Directory,
    now: UnixMicros,
) -> Result<&'d Grant, BadDetails> {
    let mut running = directory.grants.values().filter(|grant| {
        grant.integration == integration
            && grant.scope == SubjectScope::TokenSubject
            && now < grant.expires
    });
    let grant = match &element.grant {
        Some(text) => {
            let id: GrantId = text.parse().map_err(|_| BadDetails::Grant)?;
            running.find(|grant| grant.id == id)
        }
        None => running.next().filter(|_| running.next().is_none()),
    };
    let grant = grant.ok_or(BadDetails::Grant)?;
    let other = element.purpose.as_ref().is_some_and(|purpose| purpose != grant.purpose.as_str());
    if other { Err(BadDetails::Purpose) } else { Ok(grant) }
}
