//! Sets the demo's stage: a deployment on loopback, and three vendors.

use super::people;
use crate::client::Vendor;
use crate::loopback::{Loopback, Onboarded, Setting};
use crate::onboarding::Application;
use anyhow::{Context, Result};
use credential::SigningKey;
use model::{GrantId, IntegrationId};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use storage::registry::command::Limits;

const OPENAPI: &str = include_str!("../../assets/demo-openapi.yaml");
const OVERLAY: &str = include_str!("../../assets/demo-overlay.yaml");

/// The address that the demo's list of bad networks holds.
pub(crate) const BAD_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 6, 6));

/// Everything the acts play with.
pub(crate) struct Stage {
    pub(crate) loopback: Loopback,
    pub(crate) billing: Registered,
    pub(crate) support: Registered,
    pub(crate) insights: Registered,
}

/// One vendor's integration, as registered.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) integration: IntegrationId,
    pub(crate) grant: GrantId,
    pub(crate) key: Arc<SigningKey>,
    /// The fields its grant lets out, as paths in a record.
    pub(crate) fields: &'static [&'static str],
    pub(crate) from: IpAddr,
}

/// What is asked for a vendor.
struct Plan {
    application: Application<'static>,
    fields: &'static [&'static str],
    from: [u8; 4],
}

const BILLING: Plan = Plan {
    application: Application {
        slug: "ledgerly-billing",
        vendor: "Ledgerly GmbH",
        operations: &["getAccount"],
        classes: &[
            "user.unique_id",
            "user.contact.email",
            "user.account.plan",
            "user.financial.card_last_four",
        ],
        purpose: "billing",
        budget: Limits { burst: 400, hour: 2_000, day: 5_000 },
        days: 30,
        sandbox: ("/v1/accounts/acc_000001", "acc_000001"),
    },
    fields: &["id", "email", "plan", "card", "card.last4"],
    from: [127, 10, 1, 1],
};
const SUPPORT: Plan = Plan {
    application: Application {
        slug: "helpnine-desk",
        vendor: "Help Nine Inc.",
        operations: &["getAccount", "listConversations"],
        classes: &["user.unique_id", "user.name", "user.contact.email", "user.content"],
        purpose: "support",
        budget: Limits { burst: 50_000, hour: 100_000, day: 100_000 },
        days: 30,
        sandbox: ("/v1/accounts/acc_000001/conversations", "acc_000001"),
    },
    fields: &[
        "id",
        "name",
        "email",
        "account_id",
        "items",
        "items.id",
        "items.account_id",
        "items.title",
        "items.text",
    ],
    from: [127, 10, 2, 1],
};
const INSIGHTS: Plan = Plan {
    application: Application {
        slug: "trendline-insights",
        vendor: "Trendline SAS",
        operations: &["listAccounts"],
        classes: &["user.location.country", "user.account.plan"],
        purpose: "analytics",
        budget: Limits { burst: 2_000, hour: 10_000, day: 50_000 },
        days: 30,
        sandbox: ("/v1/accounts?limit=1&after=acc_000000", "acc_000001"),
    },
    fields: &["items", "items.country", "items.plan"],
    from: [127, 10, 3, 1],
};

impl Stage {
    /// Starts everything. `widen`: let the contract classify a field that no vendor was promised, as a careless edit would.
    ///
    /// # Errors
    /// Whatever part did not start.
    pub(crate) async fn set(widen: bool) -> Result<Self> {
        let overlay = if widen { widened() } else { OVERLAY.to_owned() };
        let loopback = Loopback::set(&Setting {
            deployment: "demo",
            openapi: OPENAPI,
            overlay: &overlay,
            listed: &[BAD_ADDRESS],
            directory: &people::directory(),
        })
        .await?;
        let billing = register(&BILLING, &loopback).await?;
        let support = register(&SUPPORT, &loopback).await?;
        let insights = register(&INSIGHTS, &loopback).await?;
        Ok(Self { loopback, billing, support, insights })
    }

    /// A process of a vendor's software that already has a token.
    ///
    /// # Errors
    /// If it is given none.
    pub(crate) async fn client(&self, of: &Registered) -> Result<Vendor> {
        let mut vendor = Vendor::new(
            &self.loopback.endpoints,
            of.integration,
            &of.grant.to_string(),
            Arc::clone(&of.key),
            of.from,
        );
        vendor.obtain_token().await.with_context(|| format!("{} got no token", of.name))?;
        Ok(vendor)
    }
}

/// The overlay with one line more, of the kind that slips through a review.
fn widened() -> String {
    format!(
        "{OVERLAY}  - target: $.components.schemas.Account.properties.phone\n    update: {{ x-portcullis-class: user.contact.email }}\n"
    )
}

async fn register(plan: &Plan, loopback: &Loopback) -> Result<Registered> {
    let from = IpAddr::from(plan.from);
    let Onboarded { integration, grant, key, from } =
        loopback.onboard(&plan.application, from).await?;
    let name = plan.application.slug;
    Ok(Registered { name, integration, grant, key, fields: plan.fields, from })
}
