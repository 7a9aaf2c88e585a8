//! What vendors ask for about their own clients: tickets to ask with, and what operators make of it.

use super::{Listed, Session, in_days, print};
use crate::keys;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use credential::{base64url, sha256};
use model::{CredentialId, UnixMicros};
use serde_json::{Value, json};
use storage::registry::Command;
use storage::registry::command::{ApprovedKey, Listing};

/// A ticket to register with.
#[derive(Args)]
pub(crate) struct Ticket {
    /// Slug or id
    integration: String,
    #[arg(long, default_value_t = 7)]
    days: u64,
    #[command(flatten)]
    session: Session,
}

#[derive(Subcommand)]
pub(crate) enum RegistrationCommand {
    /// Every client that a vendor registered, and whether something of it waits
    List(Listed),
    /// What a vendor asked for, as JSON; `request` names what waits
    Show {
        /// Slug or id
        integration: String,
        #[command(flatten)]
        session: Session,
    },
    /// Give the client the keys and redirect addresses that wait, all of them (two operators)
    Approve {
        /// Slug or id
        integration: String,
        /// What was looked at, as `registration show` names it
        // Base64url may begin with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        request: String,
        /// How long the keys are good
        #[arg(long)]
        days: u64,
        /// Networks the keys may be used from; none for any
        #[arg(long)]
        network: Vec<String>,
        #[command(flatten)]
        session: Session,
    },
}

impl Ticket {
    /// Prints the ticket: nobody can print it again, because nobody else ever has more of it than its hash.
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        let integration = self.session.integration(&self.integration).await?;
        let ticket = base64url::encode(&keys::random::<32>()?);
        let (hash, until) = (sha256(ticket.as_bytes()), in_days(now, self.days));
        self.session.send(Command::RegistrationTicket { integration, ticket: hash, until }).await?;
        print::line(&ticket)
    }
}

impl RegistrationCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::List(listed) => listed.run(Listing::Registrations).await,
            Self::Show { integration, session } => {
                let row = registered(&session, &integration).await?;
                print::line(&serde_json::to_string_pretty(&row)?)
            }
            Self::Approve { integration, request, days, network, session } => {
                let row = registered(&session, &integration).await?;
                if row.get("request").and_then(Value::as_str) != Some(&*request) {
                    bail!(
                        "`{request}` does not wait for `{integration}`; `portcullis integration registration show` says what does"
                    );
                }
                let id = session.integration(&integration).await?;
                let keys = row.pointer("/pending/jwks/keys").and_then(Value::as_array);
                let key = |jwk: &Value| {
                    let jwk = jwk.as_object().context("a key is an object")?.clone();
                    let credential = CredentialId::new(now, keys::random()?);
                    Ok(ApprovedKey { credential, jwk })
                };
                let keys = keys.into_iter().flatten().map(key).collect::<Result<Vec<_>>>()?;
                let uris = row.pointer("/pending/redirect_uris").and_then(Value::as_array);
                let text = |uri: &Value| uri.as_str().map(str::to_owned);
                let credentials: Vec<_> =
                    keys.iter().map(|key| key.credential.to_string()).collect();
                let command = Command::RegistrationApprove {
                    integration: id,
                    keys,
                    redirect_uris: uris.into_iter().flatten().filter_map(text).collect(),
                    until: in_days(now, days),
                    networks: network,
                };
                session.send(command).await?;
                print::line(&json!({ "credentials": credentials }).to_string())
            }
        }
    }
}

async fn registered(session: &Session, named: &str) -> Result<Value> {
    let id = session.integration(named).await?.to_string();
    let list = session.send(Command::List { what: Listing::Registrations }).await?;
    let mut rows = list.get("rows").and_then(Value::as_array).into_iter().flatten();
    let row = rows.find(|row| row.get("id").and_then(Value::as_str) == Some(&id));
    row.cloned().with_context(|| format!("no client of `{named}` was registered by its vendor"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    /// One name in 64 begins with a hyphen, and was taken for an option.
    #[test]
    fn what_waits_may_be_named_by_any_base64url() {
        let command = RegistrationCommand::augment_subcommands(Command::new("registration"));
        let typed =
            ["registration", "approve", "desk", "--request", "-4x", "--days", "9", "--key", "k"];
        let matches = command.try_get_matches_from(typed).unwrap();
        let read = RegistrationCommand::from_arg_matches(&matches).ok().unwrap();
        assert!(matches!(read, RegistrationCommand::Approve { request, .. } if request == "-4x"));
    }
}
