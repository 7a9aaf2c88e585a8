//! Changes that a vendor announced and an operator approved: what is unusual on purpose, and until when.
//!
//! Only approved windows come in here. What one allows is as narrow as what was announced: one operation, one network.

use crate::NetworkGroup;
use ipnet::IpNet;
use model::{Budget, ClientIp, IntegrationId, OperationId, UnixMicros};

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
    /// Many subjects are read through one operation: novelty, enumeration and volume say nothing of it, and the budgets have room for them.
    Backfill {
        /// Which operation.
        operation: OperationId,
        /// Distinct subjects, at most.
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

/// The approved windows, those that are over for at most thirty days included, because a restart reads the record of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Windows in any order. They are looked through one by one: a deployment has a handful.
    pub fn new(windows: Vec<Window>) -> Self {
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
        self.running(integration, at).any(|window| {
            matches!(&window.kind, WindowKind::Backfill { operation: of, .. } if of == operation)
        })
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

    /// A grant's budget with room for what backfills read.
    ///
    /// Hour and day have room for the declared count more, until an hour and a day after the window: what was read in it is still in
    /// the sets then. A minute has room for four times its even share. The sets of a grant know no operations, so all operations of
    /// the integration share the room.
    pub fn widen(&self, budget: Budget, integration: IntegrationId, at: UnixMicros) -> Budget {
        let [minute, hour, day] = budget.windows().map(|(span, _)| span);
        let mut wide = budget;
        for window in
            self.0.iter().filter(|window| window.integration == integration && window.from <= at)
        {
            let WindowKind::Backfill { subjects_max, .. } = window.kind else { continue };
            let minutes = window.to.since(window.from).0.div_ceil(minute.0).max(1);
            let share = u64::from(subjects_max).saturating_mul(4).div_ceil(minutes);
            let share = u32::try_from(share).unwrap_or(u32::MAX).min(subjects_max);
            for (limit, more, tail) in [
                (&mut wide.burst, share, minute),
                (&mut wide.hour, subjects_max, hour),
                (&mut wide.day, subjects_max, day),
            ] {
                if at < window.to + tail {
                    *limit = limit.saturating_add(more);
                }
            }
        }
        wide
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
    fn a_backfills_room_lasts_as_long_as_the_sets_remember_it() {
        let windows =
            windows(WindowKind::Backfill { operation: operation("get"), subjects_max: 1_000 });
        let budget = Budget { burst: 10, hour: 20, day: 30 };
        for (secs, [burst, hour, day]) in [
            (5_999, [10, 20, 30]),
            (6_000, [50, 1_020, 1_030]),
            (12_059, [50, 1_020, 1_030]),
            (12_060, [10, 1_020, 1_030]),
            (15_600, [10, 20, 1_030]),
            (98_400, [10, 20, 30]),
        ] {
            assert_eq!(
                windows.widen(budget, OURS, at(secs)),
                Budget { burst, hour, day },
                "{secs}"
            );
            assert_eq!(windows.widen(budget, OTHER, at(secs)), budget);
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
