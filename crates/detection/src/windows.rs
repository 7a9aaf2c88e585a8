//! Changes that a vendor announced and an operator approved: what is unusual on purpose, and until when.
//!
//! Only approved windows come in here. What one allows is as narrow as what was announced: one operation, one network.

use crate::NetworkGroup;
use ipnet::IpNet;
use model::{ClientIp, IntegrationId, OperationId, UnixMicros};

/// An approved change window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What operators call it, unique among windows.
    pub id: String,
    /// Whose.
    pub integration: IntegrationId,
    /// What changes.
    pub kind: WindowKind,
    /// From when.
    pub from: UnixMicros,
    /// The first moment at which it is over.
    pub to: UnixMicros,
}

/// What a window announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Many subjects are read through one operation: novelty, enumeration and volume say nothing of it, and they are charged to
    /// the window before the grant.
    Backfill {
        /// Which operation.
        operation: OperationId,
        /// Distinct subjects, at most, of all grants together and from its beginning to its end.
        subjects_max: u32,
    },
    /// Requests come from another network.
    Address {
        /// Which.
        network: IpNet,
    },
    /// An operation is used for the first time.
    Endpoint {
        /// Which.
        operation: OperationId,
    },
}

/// The approved windows, those that are over or were ended included, because a restart reads the record of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Windows in any order. They are looked through one by one: a deployment has a handful.
    pub fn new(mut windows: Vec<Window>) -> Self {
        // Backfills that run together are filled in this order, before and after a restart.
        windows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Self(windows)
    }

    /// Every window.
    pub fn all(&self) -> &[Window] {
        &self.0
    }

    /// Whether a backfill of this operation runs.
    pub fn backfills(
        &self,
        integration: IntegrationId,
        operation: &OperationId,
        at: UnixMicros,
    ) -> bool {
        self.running_backfills(integration, operation, at).next().is_some()
    }

    /// Whether the network was announced: the whole /24 or /48 counts, as it does for what is usual.
    pub fn announce_network(
        &self,
        integration: IntegrationId,
        network: ClientIp,
        at: UnixMicros,
    ) -> bool {
        let group = NetworkGroup::of(network).net();
        self.running(integration, at).any(|window| {
            matches!(&window.kind, WindowKind::Address { network } if network.contains(&group) || group.contains(network))
        })
    }

    /// Whether the operation was announced.
    pub fn announce_operation(
        &self,
        integration: IntegrationId,
        operation: &OperationId,
        at: UnixMicros,
    ) -> bool {
        self.running(integration, at).any(|window| match &window.kind {
            WindowKind::Endpoint { operation: of } | WindowKind::Backfill { operation: of, .. } => {
                of == operation
            }
            WindowKind::Address { .. } => false,
        })
    }

    /// The backfills of this operation that run, and how many distinct subjects each may read.
    pub(crate) fn running_backfills(
        &self,
        integration: IntegrationId,
        operation: &OperationId,
        at: UnixMicros,
    ) -> impl Iterator<Item = (&Window, u32)> {
        self.running(integration, at).filter_map(move |window| match &window.kind {
            WindowKind::Backfill { operation: of, subjects_max } if of == operation => {
                Some((window, *subjects_max))
            }
            WindowKind::Backfill { .. }
            | WindowKind::Address { .. }
            | WindowKind::Endpoint { .. } => None,
        })
    }

    fn running(&self, integration: IntegrationId, at: UnixMicros) -> impl Iterator<Item = &Window> {
        self.0.iter().filter(move |window| {
            window.integration == integration && window.from <= at && at < window.to
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: IntegrationId = IntegrationId::from_bytes([1; 16]);
    const OTHER: IntegrationId = IntegrationId::from_bytes([2; 16]);

    fn operation(name: &str) -> OperationId {
        OperationId::new(name).unwrap()
    }

    fn windows(kind: WindowKind) -> Windows {
        let (from, to) = (UnixMicros::from_secs(6_000), UnixMicros::from_secs(12_000));
        Windows::new(vec![Window { id: "w".into(), integration: OURS, kind, from, to }])
    }

    fn at(secs: u64) -> UnixMicros {
        UnixMicros::from_secs(secs)
    }

    #[test]
    fn a_backfill_is_one_operations_while_it_runs() {
        let windows =
            windows(WindowKind::Backfill { operation: operation("get"), subjects_max: 1_000 });
        for (integration, name, secs, expected) in [
            (OURS, "get", 6_000, true),
            (OURS, "get", 11_999, true),
            (OURS, "get", 5_999, false),
            (OURS, "get", 12_000, false),
            (OURS, "list", 6_000, false),
            (OTHER, "get", 6_000, false),
        ] {
            assert_eq!(
                windows.backfills(integration, &operation(name), at(secs)),
                expected,
                "{name} {secs}"
            );
        }
    }

    #[test]
    fn an_announced_network_is_known_by_its_group() {
        let windows = windows(WindowKind::Address { network: "203.0.113.64/26".parse().unwrap() });
        let known = |ip: &str| {
            windows.announce_network(OURS, ClientIp::from_peer(ip.parse().unwrap()), at(7_000))
        };
        assert!(known("203.0.113.70") && known("203.0.113.1"));
        assert!(!known("203.0.114.70"));
    }
}
