//! What can be asked. Every filter left out is no filter; filters hold together.

use crate::index::Context;
use ipnet::IpNet;
use ledger::bundle;
use ledger::record::AccessBody;
use model::{
    ClassSet, ClientIp, CredentialId, GrantId, IntegrationId, OperationId, Pseudonym, Touch,
    UnixMicros,
};
use std::collections::BTreeSet;

/// Which releases are asked for. Half-open in time: `from <= t < to`, exact at the microsecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By these integrations. A vendor is the set of its integrations.
    pub integrations: Option<BTreeSet<IntegrationId>>,
    /// With these credentials.
    pub credentials: Option<BTreeSet<CredentialId>>,
    /// Under these grants.
    pub grants: Option<BTreeSet<GrantId>>,
    /// Of these operations.
    pub operations: Option<BTreeSet<OperationId>>,
    /// From these networks.
    pub networks: Option<BTreeSet<IpNet>>,
    /// Of these classes; records without subjects are then left out.
    pub classes: Option<ClassSet>,
    /// Of these subjects, by every pseudonym they have had; records without them are then left out.
    pub pseudonyms: Option<BTreeSet<Pseudonym>>,
    /// From this moment.
    pub from: UnixMicros,
    /// Up to, but not at, this moment.
    pub to: UnixMicros,
}

impl Question {
    /// Everything that was released in a window.
    pub const fn all(from: UnixMicros, to: UnixMicros) -> Self {
        Self {
            integrations: None,
            credentials: None,
            grants: None,
            operations: None,
            networks: None,
            classes: None,
            pseudonyms: None,
            from,
            to,
        }
    }

    /// The question that an evidence bundle can prove: integrations, classes, networks and window.
    ///
    /// `None` if this one has other filters; a bundle of the wider question still encloses the answer.
    pub fn provable(&self) -> Option<bundle::Question> {
        let narrower = self.credentials.is_some()
            || self.grants.is_some()
            || self.operations.is_some()
            || self.pseudonyms.is_some();
        (!narrower).then(|| bundle::Question {
            integrations: self.integrations.clone(),
            from: self.from,
            to: self.to,
            classes: self.classes,
            networks: self.networks.clone(),
        })
    }

    /// Whether a release at `time` by `integration` is asked for, its touches aside.
    pub(crate) fn covers(
        &self,
        integration: IntegrationId,
        time: UnixMicros,
        body: &AccessBody,
    ) -> bool {
        self.from <= time
            && time < self.to
            && self.covers_context(&Context::of(integration, body))
            && self.has_network(body.network)
    }

    /// Whether releases in this context are asked for.
    pub(crate) fn covers_context(&self, context: &Context) -> bool {
        let Context { integration, credential, grant, operation, vendor: _ } = context;
        self.integrations.as_ref().is_none_or(|ids| ids.contains(integration))
            && self.credentials.as_ref().is_none_or(|ids| ids.contains(credential))
            && self.grants.as_ref().is_none_or(|ids| grant.is_some_and(|id| ids.contains(&id)))
            && self
                .operations
                .as_ref()
                .is_none_or(|ids| operation.as_ref().is_some_and(|id| ids.contains(id)))
    }

    /// Whether releases to this address are asked for.
    pub(crate) fn has_network(&self, network: ClientIp) -> bool {
        let nets = self.networks.as_ref();
        nets.is_none_or(|nets| nets.iter().any(|net| net.contains(&network.addr())))
    }

    /// Whether the index's runs can answer: they know integrations, classes and time.
    pub(crate) const fn asks_for_runs(&self) -> bool {
        self.credentials.is_none()
            && self.grants.is_none()
            && self.operations.is_none()
            && self.networks.is_none()
    }

    /// Whether releases are asked for by nothing but where they went to, and classes and time.
    pub(crate) const fn asks_for_networks_alone(&self) -> bool {
        self.networks.is_some()
            && self.integrations.is_none()
            && self.credentials.is_none()
            && self.grants.is_none()
            && self.operations.is_none()
    }

    /// Whether only records with a touch that is asked for count.
    pub(crate) const fn asks_for_touches(&self) -> bool {
        self.classes.is_some() || self.pseudonyms.is_some()
    }

    /// As much of a touch as is asked for.
    pub(crate) fn touch(&self, touch: &Touch) -> Option<Touch> {
        if self.pseudonyms.as_ref().is_some_and(|wanted| !wanted.contains(&touch.pseudonym)) {
            return None;
        }
        let Some(wanted) = self.classes else { return Some(*touch) };
        let classes = touch.classes.intersection(&wanted);
        (!classes.is_empty()).then_some(Touch { classes, ..*touch })
    }
}
