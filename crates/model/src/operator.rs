//! Operators: who signs commands, and what each may do at most.

use crate::{OperatorId, UnixMicros};
use std::fmt;
use std::str::FromStr;

/// What an operator may do. Each role may also do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Narrows, and keeps cases: what the first hour of an incident takes.
    Responder,
    /// Widens, with a second one.
    Approver,
    /// Decides who decides: operators, keys, exceptions.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Responder, Self::Approver, Self::Admin];

    /// The most that an automation may be: it is never one of two people.
    pub const AUTOMATION_MAX: Self = Self::Responder;

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRole;

impl fmt::Display for NoRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role is one of viewer, responder, approver, admin")
    }
}

impl std::error::Error for NoRole {}

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(name: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(NoRole)
    }
}

/// Whether somebody or something holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorKind {
    /// One of the company's staff.
    Person,
    /// A program of the company's.
    Automation {
        /// From then on its signatures count for nothing.
        until: UnixMicros,
    },
}

impl OperatorKind {
    /// When an automation ends; never for people.
    pub const fn ends(&self) -> Option<UnixMicros> {
        match self {
            Self::Person => None,
            Self::Automation { until } => Some(*until),
        }
    }
}

/// Who signs commands, with an Ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its id.
    pub id: OperatorId,
    /// The name shown beside what it did.
    pub name: String,
    /// Ed25519 public key, 32 bytes.
    pub public_key: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// Who or what it is.
    pub kind: OperatorKind,
}
