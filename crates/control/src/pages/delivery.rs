//! Messages on their way: one at a time to each destination, again and again with growing pauses, until the receiver has it.

use super::{Destination, Pager, letter};
use crate::outbound::{self, Address};
use credential::client::{SignDelivery, sign_delivery};
use model::Micros;
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::clock;
use storage::signals::{Delivery, SignalsError};
use tokio::task::JoinSet;
use tracing::warn;

/// Before the second attempt, the third, and so on, seconds; the last one again for all that follow.
const PAUSES_S: [u64; 7] = [1, 5, 15, 60, 300, 900, 3_600];

/// From this attempt on each that fails is worth a line of the log.
const SAID_FROM: u32 = 3;

/// Messages on their way at a time.
const CONCURRENT_MAX: usize = 16;

/// Everything that is on its way.
pub(super) struct Couriers {
    pager: Arc<Pager>,
    /// Destinations that a message is on its way to.
    busy: BTreeSet<String>,
    under_way: JoinSet<(Delivery, Result<(), String>)>,
}

impl Couriers {
    pub(super) fn new(pager: Arc<Pager>) -> Self {
        Self { pager, busy: BTreeSet::new(), under_way: JoinSet::new() }
    }

    /// Notes what became of messages, and sends those that are due. Waits for no receiver.
    pub(super) async fn carry(&mut self) -> Result<(), SignalsError> {
        while let Some(ended) = self.under_way.try_join_next() {
            // Only our own panic could lose one; its destination then stays busy until a restart, which is seen as a message that waits.
            let Ok((delivery, outcome)) = ended else { continue };
            self.busy.remove(&delivery.destination);
            self.settle(&delivery, outcome).await?;
        }
        if self.under_way.len() >= CONCURRENT_MAX {
            return Ok(());
        }
        for delivery in self.pager.signals.due(clock::unix_now()).await? {
            if self.under_way.len() >= CONCURRENT_MAX || self.busy.contains(&delivery.destination) {
                continue;
            }
            let Some(destination) = self.pager.destination(&delivery.destination) else {
                // It is none any more: nobody is to hear of this there.
                self.pager.signals.delivered(&delivery.id).await?;
                continue;
            };
            self.busy.insert(delivery.destination.clone());
            let pager = Arc::clone(&self.pager);
            self.under_way.spawn(async move {
                let outcome = pager.send(&delivery, destination).await;
                (delivery, outcome)
            });
        }
        Ok(())
    }

    async fn settle(
        &self,
        delivery: &Delivery,
        outcome: Result<(), String>,
    ) -> Result<(), SignalsError> {
        let Err(problem) = outcome else {
            return self.pager.signals.delivered(&delivery.id).await;
        };
        let (destination, attempts) = (&delivery.destination, delivery.attempts);
        if attempts + 1 >= SAID_FROM {
            warn!(destination, attempts = attempts + 1, problem, "a message was not taken");
        }
        let done = usize::try_from(attempts).unwrap_or(usize::MAX);
        let pause = PAUSES_S.get(done).or(PAUSES_S.last()).copied().unwrap_or_default();
        let due = clock::unix_now() + Micros::from_secs(pause);
        self.pager.signals.failed(&delivery.id, due, &problem).await
    }
}

/// Where one message goes.
pub(super) enum Way {
    /// A receiver of the operator's, or a vendor's. `ours`: it may be inside.
    Webhook {
        address: Address,
        ours: bool,
        tag: &'static str,
    },
    Mail(String),
}

impl Pager {
    /// The destination of this name, if it is one still.
    fn destination(&self, name: &str) -> Option<Way> {
        if let Some(vendor) = name.strip_prefix("vendor:") {
            let registered = self.registered.load();
            let url = registered.webhooks.get(&vendor.parse().ok()?)?;
            let address = Address::parse(url, self.on_loopback).ok()?;
            // Where everything is on loopback, vendors are too; anywhere else no vendor sends us inside.
            let ours = self.on_loopback && address.place().is_here();
            return Some(Way::Webhook { address, ours, tag: "portcullis-vendor-event" });
        }
        let settings = self.settings.load();
        let found = settings.destinations.iter().find(|destination| destination.name() == name)?;
        Some(match found {
            Destination::Webhook(address) => {
                Way::Webhook { address: address.clone(), ours: true, tag: "portcullis-page" }
            }
            Destination::Mail(mailbox) => Way::Mail(mailbox.clone()),
        })
    }

    async fn send(&self, delivery: &Delivery, way: Way) -> Result<(), String> {
        match way {
            Way::Webhook { address, ours, tag } => {
                let (url, idempotency_key) = (address.url(), format!("\"{}\"", delivery.id));
                let message = SignDelivery {
                    target_uri: &url,
                    content: delivery.body.as_bytes(),
                    idempotency_key: &idempotency_key,
                    tag,
                    now: clock::unix_now(),
                };
                let signed = sign_delivery(&self.key, &message);
                let fields = [
                    ("content-digest", signed.content_digest.unwrap_or_default()),
                    ("idempotency-key", idempotency_key),
                    ("signature-input", signed.signature_input),
                    ("signature", signed.signature),
                ];
                let content = delivery.body.clone().into();
                let posted = outbound::post(&address, ours, &fields, content).await;
                posted.map_err(|problem| problem.to_string())
            }
            Way::Mail(mailbox) => {
                let Some((mailer, from)) = self.office.mail() else {
                    return Err("`[mail]` is not configured".to_owned());
                };
                let letter = letter::compose(delivery, &from, &mailbox);
                let letter = letter.map_err(|bad| bad.to_string())?;
                mailer.hand_over(letter).await.map_err(|problem| problem.to_string())
            }
        }
    }
}
