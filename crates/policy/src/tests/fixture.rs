//! One vendor, one integration and its grants, small enough to see whole.

use crate::decide::{Asking, weigh};
use crate::{ConsentBook, OperationFacts, Permit, Policies, Refused};
use model::{
    Budget, ClassSet, ClassTable, DataClass, Directory, Grant, GrantId, Integration, IntegrationId,
    IntegrationState, OperationId, OperationKind, Purpose, SubjectId, SubjectScope, UnixMicros,
    Vendor, VendorId,
};
use std::sync::Arc;

pub(super) const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
pub(super) const LATER: UnixMicros = UnixMicros::from_secs(1_900_000_000);
pub(super) const INTEGRATION: IntegrationId = IntegrationId::from_bytes([1; 16]);
pub(super) const VENDOR: VendorId = VendorId::from_bytes([2; 16]);

pub(super) const CLASSES: [&str; 5] = [
    "user.contact.email",
    "user.contact.phone",
    "user.payment.card_number",
    "user.government_id",
    "user.authorization.password",
];

pub(super) fn grant_id(n: u8) -> GrantId {
    GrantId::from_bytes([0xf0 + n; 16])
}

pub(super) fn operation_id(kind: OperationKind) -> OperationId {
    OperationId::new(&format!("{}\"Accounts\\", kind.as_str())).unwrap()
}

/// One deployment: everything that `compile` and `decide` take.
#[derive(Clone)]
pub(super) struct World {
    pub(super) classes: ClassTable,
    pub(super) directory: Directory,
    pub(super) operator_policies: String,
    pub(super) consents: Arc<ConsentBook>,
}

impl World {
    /// Tier 2, approved, with one grant of everything to everybody's contact data for `support`.
    pub(super) fn new() -> Self {
        let names = CLASSES.iter().map(|name| DataClass::new(name).unwrap()).collect();
        let mut world = Self {
            classes: ClassTable::new(names).unwrap(),
            directory: Directory { revision: 1, ..Directory::default() },
            operator_policies: String::new(),
            consents: Arc::default(),
        };
        world
            .directory
            .vendors
            .insert(VENDOR, Vendor { id: VENDOR, slug: "acme".into(), name: "Acme Ltd".into() });
        world.directory.integrations.insert(
            INTEGRATION,
            Integration {
                id: INTEGRATION,
                slug: "acme-desk".into(),
                vendor: VENDOR,
                tier: 2,
                state: IntegrationState::Approved { until: LATER },
                redirects: Vec::new(),
            },
        );
        world.grant(0, &CLASSES, "support");
        world
    }

    pub(super) fn grant(&mut self, n: u8, classes: &[&str], purpose: &str) -> &mut Grant {
        let classes = classes.iter().map(|name| DataClass::new(name).unwrap());
        let grant = Grant {
            id: grant_id(n),
            integration: INTEGRATION,
            operations: OperationKind::ALL.map(operation_id).into(),
            classes: classes
                .fold(ClassSet::EMPTY, |set, c| set.union(&self.classes.covered_by(&c))),
            purpose: Purpose::new(purpose).unwrap(),
            scope: SubjectScope::Attribute { pointer: "/tenant".into(), value: "1".into() },
            budget: Budget { burst: 60, hour: 301, day: 2_000 },
            expires: LATER,
        };
        self.directory.grants.insert(grant.id, grant);
        self.directory.grants.get_mut(&grant_id(n)).unwrap()
    }

    pub(super) fn integration(&mut self) -> &mut Integration {
        self.directory.integrations.get_mut(&INTEGRATION).unwrap()
    }

    pub(super) fn all(&self) -> ClassSet {
        CLASSES.iter().filter_map(|n| self.classes.number(&DataClass::new(n).unwrap())).collect()
    }

    pub(super) fn compile(&self) -> Policies {
        let ids = OperationKind::ALL.map(operation_id);
        let operations: Vec<_> = OperationKind::ALL
            .iter()
            .zip(&ids)
            .map(|(&kind, id)| OperationFacts { id, kind, classes: self.all() })
            .collect();
        Policies::compile(&operations, &self.classes, &self.directory, &self.operator_policies)
            .unwrap()
    }

    /// What a caller with grant 0 is told.
    pub(super) fn decide(&self, kind: OperationKind, classes: ClassSet) -> Result<Permit, Refused> {
        self.decide_with(&self.compile(), &asking(), kind, classes)
    }

    pub(super) fn decide_with(
        &self,
        policies: &Policies,
        asking: &Asking<'_>,
        kind: OperationKind,
        classes: ClassSet,
    ) -> Result<Permit, Refused> {
        let id = operation_id(kind);
        let facts = OperationFacts { id: &id, kind, classes };
        weigh(asking, &facts, &self.directory, policies, &self.consents, NOW)
    }

    pub(super) fn names(&self, permit: &Permit) -> Vec<&str> {
        self.classes.names(permit.classes())
    }
}

pub(super) fn asking() -> Asking<'static> {
    Asking {
        integration: INTEGRATION,
        grant: grant_id(0),
        subject: None,
        consent: None,
        token_expires: LATER,
        restricted: false,
    }
}

pub(super) fn subject() -> SubjectId {
    SubjectId::new("4711").unwrap()
}
