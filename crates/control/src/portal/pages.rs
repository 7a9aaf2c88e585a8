//! The portal's pages, filled in. Every value is escaped by the template engine.

use super::{Portal, is_sensitive};
use crate::connect::Ask;
use authority::consent::Consent;
use credential::base64url;
use incident::words;
use minijinja::{Environment, Value, context};
use model::{OperationId, UnixMicros};
use storage::consents::StoredPasskey;
use tracing::error;

/// Terms that a subject may choose between, in days.
const TERMS: [u64; 3] = [7, 30, 90];

/// The pages of a portal.
pub struct Pages(Environment<'static>);

impl Default for Pages {
    fn default() -> Self {
        let mut pages = Environment::new();
        let all = [
            ("layout.html", include_str!("../../../../portal/layout.html")),
            ("consent.html", include_str!("../../../../portal/consent.html")),
            ("connections.html", include_str!("../../../../portal/connections.html")),
            ("sign-in.html", include_str!("../../../../portal/sign-in.html")),
            ("enrol.html", include_str!("../../../../portal/enrol.html")),
            ("leave.html", include_str!("../../../../portal/leave.html")),
            ("problem.html", include_str!("../../../../portal/problem.html")),
        ];
        for (name, text) in all {
            if let Err(broken) = pages.add_template(name, text) {
                // A test fills in each page; a build with a broken one would have failed it.
                error!(%broken, name, "a page of the portal is broken");
            }
        }
        Self(pages)
    }
}

impl Pages {
    pub(super) fn consent(
        &self,
        portal: &Portal,
        csrf: &str,
        asked: &Ask,
        now: UnixMicros,
    ) -> String {
        let left = asked.pushed.details.expires.since(now).0 / 86_400_000_000;
        let mut terms: Vec<u64> = TERMS.into_iter().filter(|days| *days < left).collect();
        terms.push(left.max(1));
        let chosen = terms.iter().rfind(|days| **days <= 90).or(terms.first()).copied();
        let terms = terms.into_iter().map(|days| {
            let words = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
            context! { days, words, chosen => Some(days) == chosen }
        });
        let classes = asked.classes.iter().map(|name| {
            context! { name, words => capital(&words::plain(name)), sensitive => is_sensitive(name) }
        });
        let said: Vec<String> = asked.classes.iter().map(|name| words::plain(name)).collect();
        let mut withheld = words::all_plain(&asked.withheld);
        withheld.retain(|words| !said.contains(words));
        let operations = asked.pushed.details.operations.iter().map(OperationId::to_string);
        let redirect_host = super::origin_of(&asked.pushed.redirect_uri);
        self.fill(
            portal,
            "consent.html",
            context! {
                csrf,
                signed_in => true,
                vendor => &asked.vendor,
                integration => &asked.integration,
                purpose => asked.purpose.replace('_', " "),
                classes => classes.collect::<Vec<_>>(),
                withheld => withheld.iter().map(|words| capital(words)).collect::<Vec<_>>(),
                terms => terms.collect::<Vec<_>>(),
                operations => operations.collect::<Vec<_>>(),
                redirect_host,
            },
        )
    }

    pub(super) fn connections(
        &self,
        portal: &Portal,
        csrf: &str,
        consents: &[Consent],
        passkeys: &[StoredPasskey],
        now: UnixMicros,
    ) -> String {
        let registered = (portal.connect.registered)();
        let rows = consents.iter().filter(|consent| consent.refresh.is_some()).map(|consent| {
            let directory = &registered.directory;
            let vendor = directory
                .integrations
                .get(&consent.integration)
                .and_then(|integration| directory.vendors.get(&integration.vendor));
            let purpose = directory.grants.get(&consent.details.grant);
            let names = registered.classes.names(&consent.details.classes);
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let (over, asleep) = (consent.is_over(now), consent.sleeps(now));
            let standing = match (over, asleep) {
                (true, _) => "ended",
                (false, true) => "asleep",
                (false, false) => "connected",
            };
            context! {
                id => consent.id.to_string(),
                vendor => vendor.map_or("A vendor that is gone", |vendor| &vendor.name),
                purpose => purpose.map(|grant| grant.purpose.to_string().replace('_', " ")),
                classes => words::all_plain(&names).join(", "),
                given => day(consent.given),
                expires => day(consent.details.expires),
                used => day(consent.used),
                open => !over,
                asleep,
                standing,
            }
        });
        let connections: Vec<Value> = rows.collect();
        let passkeys = passkeys.iter().map(|passkey| {
            context! { id => base64url::encode(&passkey.credential), added => day(passkey.added) }
        });
        let passkeys: Vec<Value> = passkeys.collect();
        let values = context! { csrf, connections, passkeys, signed_in => true };
        self.fill(portal, "connections.html", values)
    }

    pub(super) fn sign_in(&self, portal: &Portal, csrf: &str, next: &str, again: bool) -> String {
        let provider = portal.provider.as_ref().map(|provider| provider.name());
        let passkeys = portal.passkeys.is_some();
        let values = context! { csrf, next, again, passkeys, provider, signed_in => false };
        self.fill(portal, "sign-in.html", values)
    }

    /// Sends a browser to somebody at `to`. Not by a redirect after the form: `form-action` would have to name each origin that a
    /// provider leads through.
    pub(super) fn leave(&self, portal: &Portal, name: &str, to: &str) -> String {
        self.fill(portal, "leave.html", context! { to, name, signed_in => false })
    }

    pub(super) fn enrol(&self, portal: &Portal, csrf: &str, ticket: &str) -> String {
        self.fill(portal, "enrol.html", context! { csrf, ticket, signed_in => false })
    }

    pub(super) fn problem(&self, portal: &Portal, sentence: &str) -> String {
        self.fill(portal, "problem.html", context! { sentence, signed_in => false })
    }

    fn fill(&self, portal: &Portal, page: &str, values: Value) -> String {
        let values = context! { company => &portal.company, ..values };
        let filled = self.0.get_template(page).and_then(|page| page.render(values));
        filled.unwrap_or_else(|broken| {
            error!(%broken, page, "a page of the portal cannot be filled in");
            String::new()
        })
    }
}

/// The date of a moment, in UTC.
fn day(moment: UnixMicros) -> String {
    moment.to_string().chars().take(10).collect()
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
