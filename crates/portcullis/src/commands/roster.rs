//! `portcullis operator`: who may sign commands, and which.

use super::{Listed, Session, in_days, print};
use crate::operator::OperatorKey;
use anyhow::{Result, bail};
use clap::Subcommand;
use model::{OperatorId, Role, UnixMicros};
use std::path::{Path, PathBuf};
use storage::registry::Command;
use storage::registry::command::Listing;

#[derive(Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make a key file for a new operator and add it (two admins; the first operator alone, together with the new key, while it is the only one)
    Add {
        name: String,
        /// viewer looks; responder also severs, freezes, restricts and keeps cases; approver also widens, with a second one; admin also
        /// decides who may do what
        #[arg(long)]
        role: Role,
        /// Where the new key goes; a key of that name that is there already is added as it is
        #[arg(long)]
        new_key: PathBuf,
        /// A program's, which signs as people do: viewer or responder, never one of two, and not for longer than --expires
        #[arg(long, requires = "expires")]
        automation: bool,
        /// Days until an automation ends, at most 365
        #[arg(long, requires = "automation", value_name = "DAYS")]
        expires: Option<u64>,
        #[command(flatten)]
        session: Session,
    },
    /// Give an operator another role (two admins)
    Role {
        operator: OperatorId,
        /// viewer, responder, approver or admin
        role: Role,
        #[command(flatten)]
        session: Session,
    },
    /// Forget an operator's passkeys, of a device that was lost: it adds another with `portcullis console` (two admins)
    ForgetPasskeys {
        operator: OperatorId,
        #[command(flatten)]
        session: Session,
    },
    /// Take an operator off the roster for good (two admins)
    Remove {
        operator: OperatorId,
        #[command(flatten)]
        session: Session,
    },
    /// Every operator and automation, and what it may do
    List(Listed),
}

impl OperatorCommand {
    /// # Errors
    /// The node's refusal, or a key that cannot be read or written.
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        let (session, command) = match self {
            Self::List(listed) => return listed.run(Listing::Operators).await,
            Self::Add { name, role, new_key, expires, session, .. } => {
                let until = expires.map(|days| in_days(now, days));
                return add(&name, role, until, &new_key, &session).await;
            }
            Self::Role { operator, role, session } => {
                (session, Command::OperatorRole { operator, role })
            }
            Self::ForgetPasskeys { operator, session } => {
                (session, Command::OperatorPasskeysRemove { operator })
            }
            Self::Remove { operator, session } => (session, Command::OperatorRemove { operator }),
        };
        print::line(&session.send(command).await?.to_string())
    }
}

async fn add(
    name: &str,
    role: Role,
    automation_until: Option<UnixMicros>,
    new_key: &Path,
    session: &Session,
) -> Result<()> {
    // The key is on disk before the node knows it, so that no operator is ever added without one. What was refused or did not
    // arrive is repeated with the same key.
    let new = if new_key.exists() {
        OperatorKey::read(new_key)?
    } else {
        OperatorKey::create(new_key, name)?
    };
    if new.name != name {
        bail!("`{}` is the key of `{}`, not of `{name}`", new_key.display(), new.name);
    }
    let (id, command) = (new.id, new.add(role, automation_until)?);
    let mut signers = session.keys()?;
    // While there is one operator the new one signs as the second; after that two who are on the roster do.
    if signers.len() == 1 && automation_until.is_none() {
        signers.push(new);
    }
    session.send_signed(command, &signers).await?;
    print::line(&id.to_string())
}
