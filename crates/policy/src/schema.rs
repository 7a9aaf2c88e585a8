//! The words that policies are written in: the Cedar schema, the entities, and one request per class.
//!
//! Everything Cedar sees is a category, so that a decision is a pure function of few values and can be memoised.

use crate::operation::OperationFacts;
use crate::policies::Question;
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
    Schema,
};
use model::{ClassTable, DataClass, Directory, Grant, OperationKind, SubjectScope};
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

/// The resource of an operation that returns no data. No data class can be spelled like it.
pub(crate) const NO_DATA: &str = "no data";

/// `State::"severed"` and others never reach Cedar, because native checks come first; they are in the schema so that
/// `base.state` holds even if that order is ever broken.
const STATES: [&str; 5] = ["applied", "approved", "restricted", "severed", "expired"];
const SCOPES: [&str; 4] = ["token_subject", "consenting", "attribute", "all"];

/// The entity types of the schema. One name per type, in one place.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    action: EntityTypeName,
    data_class: EntityTypeName,
    grant: EntityTypeName,
    integration: EntityTypeName,
    kind: EntityTypeName,
    purpose: EntityTypeName,
    scope: EntityTypeName,
    state: EntityTypeName,
    vendor: EntityTypeName,
}

impl Words {
    /// `None` only if Cedar refuses one of our own type names.
    pub(crate) fn new() -> Option<Self> {
        let word = |name: &str| name.parse().ok();
        Some(Self {
            action: word("Action")?,
            data_class: word("DataClass")?,
            grant: word("Grant")?,
            integration: word("Integration")?,
            kind: word("Kind")?,
            purpose: word("Purpose")?,
            scope: word("Scope")?,
            state: word("State")?,
            vendor: word("Vendor")?,
        })
    }

    pub(crate) fn action(&self, operation: &str) -> EntityUid {
        uid(&self.action, operation)
    }

    pub(crate) fn data_class(&self, name: &str) -> EntityUid {
        uid(&self.data_class, name)
    }

    pub(crate) fn integration(&self, id: impl ToString) -> EntityUid {
        uid(&self.integration, &id.to_string())
    }

    pub(crate) fn vendor(&self, id: impl ToString) -> EntityUid {
        uid(&self.vendor, &id.to_string())
    }

    /// Whether policies may name `literal`: a class, integration or vendor must be known, so that a misspelt `forbid`
    /// is an error and not a rule that never applies. Grants and purposes come and go, and are not checked.
    pub(crate) fn knows(&self, literal: &EntityUid, entities: &Entities) -> bool {
        let kind = literal.type_name();
        let must_exist = [&self.data_class, &self.integration, &self.vendor].contains(&kind);
        !must_exist || entities.get(literal).is_some()
    }

    /// The policy that permits what `grant` covers.
    pub(crate) fn grant_policy(&self, grant: &Grant, classes: &ClassTable) -> String {
        let mut actions: Vec<String> =
            grant.operations.iter().map(|id| self.action(id.as_str()).to_string()).collect();
        actions.sort_unstable();
        let mut resources: Vec<String> =
            classes.names(&grant.classes).iter().map(|n| self.data_class(n).to_string()).collect();
        resources.sort_unstable();
        resources.push(self.data_class(NO_DATA).to_string());
        format!(
            "@id(\"{id}\")\npermit (principal == {principal}, action in [{actions}], resource)\nwhen {{\n    \
             context.grant == {grant} &&\n    context.purpose == {purpose} &&\n    \
             [{resources}].contains(resource)\n}};\n",
            id = grant.id,
            principal = self.integration(grant.integration),
            actions = actions.join(", "),
            grant = uid(&self.grant, &grant.id.to_string()),
            purpose = uid(&self.purpose, grant.purpose.as_str()),
            resources = resources.join(", "),
        )
    }

    /// Integrations below their vendors, and classes below every prefix of their name.
    pub(crate) fn entities(
        &self,
        classes: &ClassTable,
        directory: &Directory,
        schema: &Schema,
    ) -> Result<Entities, String> {
        let mut entities = Vec::new();
        for vendor in directory.vendors.keys() {
            entities.push(Entity::new_no_attrs(self.vendor(vendor), HashSet::new()));
        }
        for integration in directory.integrations.values() {
            let parents = HashSet::from([self.vendor(integration.vendor)]);
            entities.push(Entity::new_no_attrs(self.integration(integration.id), parents));
        }
        let names = classes.classes().iter().map(DataClass::as_str).chain([NO_DATA]);
        let with_parents: BTreeSet<&str> =
            names.flat_map(|name| std::iter::once(name).chain(parents(name))).collect();
        for name in with_parents {
            let parent = parents(name).next().map(|parent| self.data_class(parent));
            entities
                .push(Entity::new_no_attrs(self.data_class(name), parent.into_iter().collect()));
        }
        Entities::from_entities(entities, Some(schema)).map_err(|error| error.to_string())
    }

    /// What Cedar is told besides who, what and which class.
    pub(crate) fn context(&self, question: &Question<'_>) -> Result<Context, String> {
        let entity = |kind, name: &str| RestrictedExpression::new_entity_uid(uid(kind, name));
        Context::from_pairs([
            ("grant".to_owned(), entity(&self.grant, &question.grant.id.to_string())),
            ("kind".to_owned(), entity(&self.kind, question.kind.as_str())),
            ("purpose".to_owned(), entity(&self.purpose, question.grant.purpose.as_str())),
            ("scope".to_owned(), entity(&self.scope, scope_word(&question.grant.scope))),
            ("state".to_owned(), entity(&self.state, question.standing.as_str())),
            ("tier".to_owned(), RestrictedExpression::new_long(i64::from(question.tier))),
        ])
        .map_err(|error| error.to_string())
    }

    /// The request that asks for one class (or [`NO_DATA`]) of the question's operation.
    pub(crate) fn request(
        &self,
        question: &Question<'_>,
        class: &str,
        context: Context,
        schema: &Schema,
    ) -> Result<Request, String> {
        Request::new(
            self.integration(question.integration),
            self.action(question.operation.as_str()),
            self.data_class(class),
            context,
            Some(schema),
        )
        .map_err(|error| error.to_string())
    }
}

/// The schema as Cedar text. Deterministic, because its hash is part of the policy hash.
pub(crate) fn schema_text(operations: &[OperationFacts<'_>]) -> String {
    let kinds: Vec<&str> = OperationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut text = String::from(
        "entity Vendor;\nentity Integration in [Vendor];\nentity DataClass in [DataClass];\n\
         entity Grant;\nentity Purpose;\n",
    );
    for (name, words) in [("Kind", &kinds[..]), ("Scope", &SCOPES), ("State", &STATES)] {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "entity {name} enum [\"{}\"];", words.join("\", \""));
    }
    text.push_str(
        "type Asked = { grant: Grant, kind: Kind, purpose: Purpose, scope: Scope, state: State, tier: Long };\n",
    );
    let names: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    for name in names {
        let name = EntityId::new(name).escaped();
        let _ = writeln!(
            text,
            "action \"{name}\" appliesTo {{ principal: [Integration], resource: [DataClass], context: Asked }};"
        );
    }
    text
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn scope_word(scope: &SubjectScope) -> &'static str {
    let [token_subject, consenting, attribute, all] = SCOPES;
    match scope {
        SubjectScope::TokenSubject => token_subject,
        SubjectScope::Consenting(_) => consenting,
        SubjectScope::Attribute { .. } => attribute,
        SubjectScope::All => all,
    }
}

/// The names above `name`, nearest first: `user.contact` and `user` for `user.contact.email`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.rsplit_once('.').map(|(parent, _)| parent), |name| {
        name.rsplit_once('.').map(|(parent, _)| parent)
    })
}
