//! Takes an integration from nothing to its first grant, as two operators would, command by command.

use crate::keys;
use crate::operator::{self, OperatorKey};
use anyhow::{Context, Result};
use credential::PublicKey;
use model::{CredentialId, GrantId, IntegrationId, Micros, VendorId};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{Limits, Scope};

/// What an integration is registered with.
pub(crate) struct Application<'a> {
    /// Slug of the integration; the part before the first `-` is its vendor's.
    pub(crate) slug: &'a str,
    pub(crate) vendor: &'a str,
    pub(crate) operations: &'a [&'a str],
    pub(crate) classes: &'a [&'a str],
    pub(crate) purpose: &'a str,
    pub(crate) budget: Limits,
}

/// The first operator adds a second one, who signs too. Both keys stand beside each other in `keys/operators`.
///
/// # Errors
/// The node's refusal, or a key that cannot be read or written.
pub(crate) async fn second_operator(
    directory: &Path,
    control: SocketAddr,
    first: &str,
    second: &str,
) -> Result<[OperatorKey; 2]> {
    let keys = directory.join("keys/operators");
    let first = OperatorKey::read(&keys.join(format!("{first}.key")))?;
    let second = OperatorKey::create(&keys.join(format!("{second}.key")), second)?;
    let operator = second.operator()?;
    let add = Command::OperatorAdd {
        operator: operator.id,
        name: operator.name,
        public_key: operator.public_key,
    };
    operator::send(control, add, &[&first, &second]).await?;
    Ok([first, second])
}

/// Registers the vendor, the integration, its key and a grant over all subjects, for thirty days. What widens is signed by
/// both operators.
///
/// # Errors
/// The node's refusal, with the step it refused.
pub(crate) async fn onboard(
    application: &Application<'_>,
    key: &PublicKey,
    control: SocketAddr,
    operators: &[OperatorKey; 2],
) -> Result<(IntegrationId, GrantId)> {
    let now = clock::unix_now();
    let until = now + Micros::from_secs(30 * 86_400);
    let (vendor, integration) =
        (VendorId::new(now, keys::random()?), IntegrationId::new(now, keys::random()?));
    let (credential, grant) =
        (CredentialId::new(now, keys::random()?), GrantId::new(now, keys::random()?));
    let jwk = serde_json::from_str(key.canonical_jwk())?;
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<BTreeSet<_>>();
    let vendor_slug = application.slug.split('-').next().unwrap_or(application.slug);
    let [first, second] = operators;
    let (one, both) = (&[first][..], &[first, second][..]);
    for (command, keys) in [
        (
            Command::VendorAdd {
                vendor,
                slug: vendor_slug.to_owned(),
                name: application.vendor.to_owned(),
            },
            one,
        ),
        (Command::IntegrationApply { integration, slug: application.slug.to_owned(), vendor }, one),
        (Command::IntegrationApprove { integration, until, tier: 3 }, both),
        (
            Command::CredentialAdd { credential, integration, jwk, until, networks: Vec::new() },
            both,
        ),
        (
            Command::GrantAdd {
                grant,
                integration,
                operations: texts(application.operations),
                classes: texts(application.classes),
                purpose: application.purpose.to_owned(),
                scope: Scope::All {},
                budget: application.budget,
                expires: until,
            },
            both,
        ),
    ] {
        let action = command.action();
        operator::send(control, command, keys)
            .await
            .with_context(|| format!("{}: {action}", application.slug))?;
    }
    Ok((integration, grant))
}
