//! What ends by itself, said while there is time to replace it.

use credential::certificate::Ending;
use model::{Directory, Micros, Operator, OperatorId, UnixMicros};
use std::collections::BTreeMap;
use tracing::{error, warn};

/// How long ahead the end of a credential or certificate is said.
pub const AHEAD: Micros = Micros::from_secs(14 * 86_400);

/// How long ahead the end of a revocation list is said: some are made each day, and few less often than each month.
pub const AHEAD_OF_LIST: Micros = Micros::from_secs(86_400);

/// How urgent an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It comes.
    Soon,
    /// It has come, and requests are refused for it.
    Over,
}

/// Something that ends soon, or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is.
    pub what: &'static str,
    /// Which one.
    pub name: String,
    /// The first moment at which it no longer holds.
    pub ends: UnixMicros,
    /// How urgent that is.
    pub urgency: Urgency,
}

/// The certificates and lists that a node was configured with.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Our own certificates.
    pub server: Vec<Ending>,
    /// CAs of client certificates.
    pub cas: Vec<Ending>,
    /// Their revocation lists.
    pub lists: Vec<Ending>,
}

/// What ends soon, or has ended and refuses requests.
pub fn alarms(
    directory: &Directory,
    operators: &BTreeMap<OperatorId, Operator>,
    configured: &Configured,
    now: UnixMicros,
) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    // One that has ended is history: its integration has another, or has noticed.
    let is_near = |ends: &UnixMicros| now < *ends && now + AHEAD >= *ends;
    for operator in operators.values() {
        let Some(ends) = operator.kind.ends().filter(is_near) else { continue };
        let name = format!("{} {}", operator.id, operator.name);
        alarms.push(Alarm { what: "automation", name, ends, urgency: Urgency::Soon });
    }
    for credential in directory.credentials.values() {
        let Some(ends) = credential.ends().filter(is_near) else { continue };
        let slug = directory.integrations.get(&credential.integration).map(|it| it.slug.as_str());
        let name = format!("{} of {}", credential.id, slug.unwrap_or("?"));
        alarms.push(Alarm { what: "credential", name, ends, urgency: Urgency::Soon });
    }
    let kinds = [
        ("server certificate", &configured.server, AHEAD),
        ("client CA", &configured.cas, AHEAD),
        ("revocation list", &configured.lists, AHEAD_OF_LIST),
    ];
    for (what, endings, ahead) in kinds {
        for Ending { name, ends } in endings.iter().filter(|ending| ending.is_near(now, ahead)) {
            let urgency = if now >= *ends { Urgency::Over } else { Urgency::Soon };
            alarms.push(Alarm { what, name: name.clone(), ends: *ends, urgency });
        }
    }
    alarms
}

/// Says each alarm once a day, and once more when what was coming has come.
#[derive(Debug, Default)]
pub struct Said(BTreeMap<(&'static str, String, bool), u64>);

impl Said {
    /// Logs those of `alarms` that are due to be said at `now`.
    pub fn say(&mut self, alarms: &[Alarm], now: UnixMicros) {
        for Alarm { what, name, ends, urgency } in self.due(alarms, now) {
            match urgency {
                Urgency::Soon => warn!(what, name, %ends, "ends soon"),
                Urgency::Over => {
                    error!(what, name, %ends, "has ended: what rests on it is refused")
                }
            }
        }
    }

    fn due<'a>(&mut self, alarms: &'a [Alarm], now: UnixMicros) -> Vec<&'a Alarm> {
        let today = now.secs() / 86_400;
        let mut is_due = |alarm: &Alarm| {
            let key = (alarm.what, alarm.name.clone(), alarm.urgency == Urgency::Over);
            self.0.insert(key, today) != Some(today)
        };
        alarms.iter().filter(|alarm| is_due(alarm)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        Credential, CredentialId, CredentialState, IntegrationId, Means, OperatorKind, Role,
    };

    const DAY: Micros = Micros::from_secs(86_400);
    const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);

    fn credential(id: u8, until: UnixMicros, means: Means) -> (CredentialId, Credential) {
        let id = CredentialId::from_bytes([id; 16]);
        let integration = IntegrationId::from_bytes([1; 16]);
        let state = CredentialState::Active { until };
        (id, Credential { id, integration, means, state, networks: Vec::new() })
    }

    fn days(count: u64) -> UnixMicros {
        NOW + Micros(DAY.0 * count)
    }

    #[test]
    fn what_ends_within_fourteen_days_is_said_and_what_has_ended_is_not() {
        let key = || Means::Key { thumbprint: [0; 32], jwk: String::new() };
        let certificate = |ends| Means::Certificate { thumbprint: [0; 32], ends };
        let retired = credential(6, days(1), key()).1;
        let retired = Credential { state: CredentialState::Retired, ..retired };
        let credentials = [
            credential(1, days(14), key()),
            credential(2, days(15), key()),
            credential(3, NOW, key()),
            credential(4, days(300), certificate(days(3))),
            credential(5, days(300), certificate(NOW)),
            (retired.id, retired),
        ];
        let directory = Directory { credentials: credentials.into(), ..Directory::default() };
        let alarms = alarms(&directory, &BTreeMap::new(), &Configured::default(), NOW);
        let ends: Vec<_> = alarms.iter().map(|alarm| alarm.ends).collect();
        assert_eq!(ends, [days(14), days(3)]);
    }

    #[test]
    fn an_automation_is_said_fourteen_days_ahead_and_people_are_not() {
        let operator = |id: u8, kind| {
            let id = OperatorId::from_bytes([id; 16]);
            let (name, public_key) = ("deploy".to_owned(), [0; 32]);
            (id, Operator { id, name, public_key, role: Role::Viewer, kind })
        };
        let automation = |id, until| operator(id, OperatorKind::Automation { until });
        let operators = [
            operator(1, OperatorKind::Person),
            automation(2, days(14)),
            automation(3, days(15)),
            automation(4, NOW),
        ];
        let configured = Configured::default();
        let alarms = alarms(&Directory::default(), &operators.into(), &configured, NOW);
        let said: Vec<_> = alarms.iter().map(|alarm| (alarm.what, alarm.ends)).collect();
        assert_eq!(said, [("automation", days(14))]);
    }

    #[test]
    fn a_list_is_said_a_day_ahead_and_again_when_it_is_over() {
        let ending = |name: &str, ends| Ending { name: name.to_owned(), ends };
        let configured = Configured {
            server: vec![ending("server", days(13))],
            cas: vec![ending("ca", days(20))],
            lists: vec![ending("soon", days(1)), ending("later", days(2))],
        };
        let at = |now| alarms(&Directory::default(), &BTreeMap::new(), &configured, now);
        let names = |alarms: &[Alarm]| {
            alarms.iter().map(|alarm| (alarm.name.clone(), alarm.urgency)).collect::<Vec<_>>()
        };
        let soon = |name: &str| (name.to_owned(), Urgency::Soon);
        assert_eq!(names(&at(NOW)), [soon("server"), soon("soon")]);
        assert_eq!(at(days(1))[1].urgency, Urgency::Over);

        let mut said = Said::default();
        assert_eq!(said.due(&at(NOW), NOW).len(), 2);
        let later = NOW + Micros::from_secs(3_600);
        assert_eq!(said.due(&at(later), later).len(), 0, "once a day");
        let over = at(days(1));
        let over: Vec<_> = said.due(&over, days(1)).iter().map(|alarm| &*alarm.name).collect();
        assert_eq!(over, ["server", "soon", "later"]);
    }
}
