//! One incident to try everything on.

use crate::case::{Case, Cause, Event, What};
use crate::frozen::FrozenScope;
use crate::people::People;
use exposure::{Fold, Question, Scope};
use ledger::Record;
use ledger::record::{AccessBody, Body, Chain, Header, Kind};
use model::{
    ClassSet, ClassTable, ClientIp, CredentialId, DataClass, IntegrationId, OperationId, Outcome,
    Pseudonym, RequestId, SubjectId, Touch, UnixMicros, VendorId,
};
use std::collections::BTreeMap;

pub(crate) const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);

/// 2026-11-24T08:00:00Z, when it began.
pub(crate) const T: UnixMicros = UnixMicros::from_secs(1_795_507_200);

fn table() -> ClassTable {
    let names = ["user.unique_id", "user.contact.email", "user.financial.card_last_four"];
    ClassTable::new(names.iter().map(|name| DataClass::new(name).unwrap()).collect()).unwrap()
}

pub(crate) fn record(at: UnixMicros, touches: &[(u8, &[u8])]) -> Record {
    let touch = |(who, classes): &(u8, &[u8])| Touch {
        pseudonym: Pseudonym([*who; 16]),
        classes: classes
            .iter()
            .filter_map(|n| table().number(table().classes().get(usize::from(*n))?))
            .collect::<ClassSet>(),
    };
    let touches: Vec<Touch> = touches.iter().map(touch).collect();
    let body = AccessBody {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([3; 16]),
        credential: CredentialId::from_bytes([4; 16]),
        grant: None,
        operation: OperationId::new("getAccount"),
        network: ClientIp::from_peer([203, 0, 113, 9].into()),
        network_opening: [0; 16],
        contract: [0; 32],
        policy: [0; 32],
        class_table: [0; 32],
        outcome: Outcome::Released,
        bytes: 10,
        touches: touches.len() as u64,
        touches_root: [0; 32],
    };
    let header = Header {
        kind: Kind::Access,
        chain: Chain::Integration(INTEGRATION),
        sequence: 0,
        previous: [0; 32],
        time: at,
        classes: ClassSet::EMPTY,
        network: None,
        body: [0; 32],
    };
    Record { leaf: [9; 32], header, body: Body::Access(body), touches }
}

/// Three people read by one integration within a minute, and each of `more` once.
pub(crate) fn scope(version: u64, more: &[&str]) -> FrozenScope {
    let mut names: BTreeMap<u8, SubjectId> = BTreeMap::new();
    for (n, name) in (1..).zip(["acc_1", "acc_2", "acc_3"].iter().chain(more)) {
        names.insert(n, SubjectId::new(name).unwrap());
    }
    let question = Question::all(T, UnixMicros(T.0 + 3_600_000_000));
    let mut fold = Fold::new(&question);
    fold.push(&record(T, &[(1, &[0, 1, 2])]));
    fold.push(&record(UnixMicros(T.0 + 10_000_000), &[(2, &[0, 1])]));
    fold.push(&record(UnixMicros(T.0 + 20_000_000), &[(3, &[0, 1])]));
    fold.push(&record(UnixMicros(T.0 + 60_000_000), &[(2, &[1])]));
    for (n, _) in (4..).zip(more) {
        fold.push(&record(UnixMicros(T.0 + 61_000_000), &[(n, &[0, 1])]));
    }
    let exposure = fold.finish(|pseudonym| names.get(&pseudonym.0[0]).cloned());
    let mut bytes = Vec::new();
    let listed = exposure.into();
    let frozen = Scope::freeze("acme", version, &question, &listed, &table(), &mut bytes).unwrap();
    FrozenScope::read(&bytes, frozen.hash()).unwrap()
}

/// Two of the three have an address; the third is known by nobody.
pub(crate) fn people() -> People {
    People::from_csv("subject,email,name,country\nacc_1,eva@mail.example,Eva Meier,DE\nacc_2,jean@mail.example,,FR\nsomebody,else@mail.example,Else,DE\n").unwrap().0
}

/// A case about that scope, opened two hours after it began.
pub(crate) fn case(scope: &FrozenScope) -> Case {
    let event = |hours: u64, what| Event {
        at: UnixMicros(T.0 + hours * 3_600_000_000),
        by: vec!["opr_ana".to_owned()],
        what,
    };
    let opened = What::Opened {
        name: "acme".into(),
        title: "Acme's tool polled accounts".into(),
        cause: Cause::Signal { sentence: "grt_x was held 2 times within 60 s".into() },
        began: Some(T),
        aware: UnixMicros(T.0 + 2 * 3_600_000_000),
    };
    let frozen = What::ScopeFrozen {
        version: scope.version,
        hash: crate::figures::hex(&scope.hash),
        subjects: scope.subjects.len() as u64,
        records: scope.records,
    };
    let contained = What::Contained {
        since: UnixMicros(T.0 + 2 * 3_600_000_000),
        how: "integration:acme-desk was severed".into(),
    };
    Case::fold([event(2, opened), event(2, contained), event(3, frozen)]).unwrap()
}
