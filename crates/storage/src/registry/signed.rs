//! Signed operator commands: who must have signed one, and that they did.
//!
//! What narrows needs one operator. What widens needs two different keys over the same bytes, which name the posture head
//! they were signed against, so that two people agree on one change to one known state.

use super::command::{Command, Effect};
use super::{roles, text};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use model::{Digest, Micros, Operator, OperatorId, OperatorKind, Role, UnixMicros};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Put before the payload when signing, so that a signature over a command is a signature over nothing else.
pub const SIGNED_PREFIX: &[u8] = b"portcullis-command/1\n";
/// Longest payload, in bytes: a grant to a thousand consenting subjects fits.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Longest attachment, in bytes: the largest bill of materials that vetting reads.
pub const ATTACHMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
const SIGNATURES_MAX: usize = 8;
/// An operator's clock may be this far ahead of ours.
const SKEW: Micros = Micros::from_secs(60);
/// Two people sign within days; a signature is not to lie about for longer.
const LIFE_MAX: Micros = Micros::from_secs(7 * 86_400);

/// What is signed: one command, for a while, against one posture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Random; a command with an id seen before is refused.
    #[serde(with = "text::bytes")]
    pub id: [u8; 16],
    /// The head of posture that the signers saw.
    #[serde(with = "text::bytes")]
    pub posture_head: Digest,
    /// When it was written.
    #[serde(with = "text::time")]
    pub issued: UnixMicros,
    /// The first moment at which it is too late.
    #[serde(with = "text::time")]
    pub expires: UnixMicros,
    /// What is asked for.
    pub command: Command,
}

/// A payload and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommand {
    /// [`Payload`] as JSON, exactly as signed.
    pub payload: Vec<u8>,
    /// Ed25519 signatures over [`SIGNED_PREFIX`] and the payload.
    pub signatures: Vec<(OperatorId, [u8; 64])>,
    /// What the payload names by its hash and is too large to be signed and recorded itself. Not in the record.
    pub attachment: Option<Vec<u8>>,
}

/// Proof that the right operators signed this command in time. Minted only by [`SignedCommand::verify`].
#[derive(Clone, Debug)]
pub struct Authorised {
    payload: Payload,
    operators: BTreeSet<OperatorId>,
}

/// Why a command is not carried out. Whoever sent it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The payload is not a command.
    #[error("the command cannot be read: {0}")]
    Malformed(String),
    /// The payload or the list of signatures is too long.
    #[error("the command is too large")]
    TooLarge,
    /// Its reason would do something to the terminal of whoever reads it.
    #[error("a reason is text on one line, without control characters")]
    ControlCharacters,
    /// It was signed for a time that has passed.
    #[error("the command ran out at {0}")]
    Expired(UnixMicros),
    /// It claims to be written later than it is.
    #[error("the command was issued at {0}, which has not come yet")]
    NotYet(UnixMicros),
    /// It would be good for more than seven days.
    #[error("the command expires more than seven days after it was issued, or before")]
    LivesTooLong,
    /// A signer is not on the roster.
    #[error("{0} is not an operator")]
    UnknownOperator(OperatorId),
    /// A signature does not hold.
    #[error("the signature of {0} does not hold")]
    BadSignature(OperatorId),
    /// Not enough different keys signed.
    #[error("`{action}` needs the signatures of {needed} different keys and has {found}")]
    TooFewKeys {
        /// The action.
        action: &'static str,
        /// Keys needed.
        needed: usize,
        /// Different keys that signed.
        found: usize,
    },
    /// A signer may not ask for this.
    #[error("role `{role}` of `{name}` may not `{action}`; ask {}", roles::with_article(*needed))]
    RoleTooLow {
        /// The signer's role.
        role: Role,
        /// The signer.
        name: String,
        /// The action.
        action: &'static str,
        /// The least role that may.
        needed: Role,
    },
    /// The signer is an automation whose time is over.
    #[error(
        "the automation `{name}` ended at {ended}; two admins add another: `portcullis operator add --automation`"
    )]
    AutomationEnded {
        /// The signer.
        name: String,
        /// When it ended.
        ended: UnixMicros,
    },
    /// The signer is an automation, and this is for people.
    #[error("`{action}` is for people, and `{name}` is an automation")]
    ForPeople {
        /// The signer.
        name: String,
        /// The action.
        action: &'static str,
    },
    /// A roster of one would become one in which nobody could ever add anybody.
    #[error("the second operator has to be an admin, because two admins add all others")]
    SecondNotAdmin,
    /// Posture has changed since the signers looked.
    #[error("`{action}` was signed against another posture; look again and sign again")]
    OtherPosture {
        /// The action.
        action: &'static str,
    },
}

impl Payload {
    /// The bytes to sign and to send as [`SignedCommand::payload`].
    ///
    /// # Errors
    /// None for a payload that was read from JSON or built from valid values.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// What an operator's key signs for `payload`.
    pub fn message(payload: &[u8]) -> Vec<u8> {
        [SIGNED_PREFIX, payload].concat()
    }
}

/// [`SignedCommand`] as it travels and as the record keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    /// Base64url, unpadded, so that the bytes that were signed arrive as they were.
    payload: String,
    signatures: Vec<EnvelopeSignature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attachment: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    #[serde(with = "text::plain")]
    operator: OperatorId,
    #[serde(with = "text::bytes")]
    signature: [u8; 64],
}

impl SignedCommand {
    /// The command as one JSON object: `{"payload": base64url, "signatures": [{"operator": "opr_...", "signature": hex}]}`, as it
    /// is recorded.
    ///
    /// # Errors
    /// None in practice: every part is text.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.envelope(None))
    }

    /// As [`SignedCommand::to_json`], with the attachment in `attachment`, base64url: as it travels.
    ///
    /// # Errors
    /// None in practice: every part is text.
    pub fn to_json_with_attachment(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.envelope(self.attachment.as_deref()))
    }

    fn envelope(&self, attachment: Option<&[u8]>) -> Envelope {
        let signature = |&(operator, signature): &_| EnvelopeSignature { operator, signature };
        Envelope {
            payload: BASE64_URL_SAFE_NO_PAD.encode(&self.payload),
            signatures: self.signatures.iter().map(signature).collect(),
            attachment: attachment.map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)),
        }
    }

    /// Reads what [`SignedCommand::to_json`] or [`SignedCommand::to_json_with_attachment`] wrote. It is not verified by that.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] or [`CommandError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, CommandError> {
        // Base64 takes four bytes for three; the rest is room for the signatures.
        if json.len() > (PAYLOAD_BYTES_MAX + ATTACHMENT_BYTES_MAX) / 3 * 4 + 4_096 {
            return Err(CommandError::TooLarge);
        }
        let malformed = |error: &dyn std::fmt::Display| CommandError::Malformed(error.to_string());
        let envelope: Envelope = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
        let payload =
            BASE64_URL_SAFE_NO_PAD.decode(&envelope.payload).map_err(|error| malformed(&error))?;
        let signatures = envelope.signatures.iter().map(|s| (s.operator, s.signature)).collect();
        let attachment = envelope.attachment.map(|text| BASE64_URL_SAFE_NO_PAD.decode(text));
        let attachment = attachment.transpose().map_err(|error| malformed(&error))?;
        Ok(Self { payload, signatures, attachment })
    }

    /// Checks form, time, signatures, the signers' roles and their number.
    ///
    /// `operators`: the roster in force. `posture_head`: the head in force; it binds what widens only, so that a cut is
    /// never refused because another cut came first. While the roster has one operator, the one being added signs as the
    /// second: this is how a deployment gets from one key to two.
    ///
    /// # Errors
    /// [`CommandError`]; one bad signature, or one of somebody who may not, refuses the whole, because somebody meant it to count.
    pub fn verify(
        &self,
        operators: &BTreeMap<OperatorId, Operator>,
        now: UnixMicros,
        posture_head: &Digest,
    ) -> Result<Authorised, CommandError> {
        if self.payload.len() > PAYLOAD_BYTES_MAX || self.signatures.len() > SIGNATURES_MAX {
            return Err(CommandError::TooLarge);
        }
        let payload: Payload = serde_json::from_slice(&self.payload)
            .map_err(|error| CommandError::Malformed(error.to_string()))?;
        if payload.command.reason().is_some_and(|reason| reason.contains(char::is_control)) {
            return Err(CommandError::ControlCharacters);
        }
        if now >= payload.expires {
            return Err(CommandError::Expired(payload.expires));
        }
        if payload.issued > now + SKEW {
            return Err(CommandError::NotYet(payload.issued));
        }
        if payload.issued > payload.expires || payload.expires.since(payload.issued) > LIFE_MAX {
            return Err(CommandError::LivesTooLong);
        }

        let second = newcomer(&payload.command, operators)?;
        let message = Payload::message(&self.payload);
        let mut keys = BTreeSet::new();
        let mut signers = BTreeSet::new();
        for (id, signature) in &self.signatures {
            let signer = operators.get(id).or(second.as_ref().filter(|second| second.id == *id));
            let signer = signer.ok_or(CommandError::UnknownOperator(*id))?;
            UnparsedPublicKey::new(&ED25519, signer.public_key)
                .verify(&message, signature)
                .map_err(|_| CommandError::BadSignature(*id))?;
            let entitled = roles::may(signer, &payload.command, now)?;
            keys.insert(signer.public_key);
            signers.insert(entitled.operator());
        }

        let action = payload.command.action();
        let needed = match payload.command.effect() {
            Effect::Widens => 2,
            Effect::Narrows | Effect::Looks => 1,
        };
        if keys.len() < needed {
            return Err(CommandError::TooFewKeys { action, needed, found: keys.len() });
        }
        if payload.command.effect() == Effect::Widens && payload.posture_head != *posture_head {
            return Err(CommandError::OtherPosture { action });
        }
        Ok(Authorised { payload, operators: signers })
    }
}

/// The operator that a roster of one adds to itself.
fn newcomer(
    command: &Command,
    operators: &BTreeMap<OperatorId, Operator>,
) -> Result<Option<Operator>, CommandError> {
    let Command::OperatorAdd { operator, name, public_key, role, automation_until } = command
    else {
        return Ok(None);
    };
    if operators.len() != 1 || operators.contains_key(operator) {
        return Ok(None);
    }
    if *role != Role::Admin || automation_until.is_some() {
        return Err(CommandError::SecondNotAdmin);
    }
    let (id, name, public_key) = (*operator, name.clone(), *public_key);
    let (role, kind) = (Role::Admin, OperatorKind::Person);
    Ok(Some(Operator { id, name, public_key, role, kind }))
}

impl Authorised {
    /// What was asked for.
    pub fn command(&self) -> &Command {
        &self.payload.command
    }

    /// Its id, as lower-case hex.
    pub fn id(&self) -> String {
        text::hex(&self.payload.id)
    }

    /// The head of posture that the signers saw.
    pub fn posture_head(&self) -> &Digest {
        &self.payload.posture_head
    }

    /// Who signed; never empty.
    pub fn operators(&self) -> &BTreeSet<OperatorId> {
        &self.operators
    }
}
