//! The compiled rules: checked once, sliced by grant and operation, each slice with room for its memoised rulings.

use crate::operation::OperationFacts;
use crate::schema::{NO_DATA, Words, schema_text};
use aws_lc_rs::digest::{SHA256, digest};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision, Effect, Entities,
    EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, Schema, ValidationMode, Validator,
};
use model::{
    ClassNumber, ClassSet, ClassTable, Digest, Directory, Grant, GrantId, IntegrationId,
    OperationId, OperationKind, Purpose, SubjectScope,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::discriminant;
use std::sync::{Arc, OnceLock};

const BASE: &str = include_str!("../policies/base.cedar");
/// Named in place of a policy when a request does not fit the schema it was built for, which is our own bug.
const SCHEMA: &str = "the schema";

/// What is wrong with the rules. Whoever wrote them must act; the policies in force stay in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is not Cedar.
    #[error("the policies cannot be read: {0}")]
    Unreadable(String),
    /// A policy has no `@id`, so no record could name it.
    #[error("policy {position} of the operator's policies has no `@id`")]
    NoId {
        /// Counted from 1, in the order of the text.
        position: usize,
    },
    /// Two policies have the same `@id`.
    #[error("two policies are called `{0}`")]
    SameId(String),
    /// Operators' policies forbid; only grants permit.
    #[error("policy `{0}` permits; only grants do")]
    Permits(String),
    /// A template that nothing links never applies.
    #[error("templates are not used here")]
    Template,
    /// A policy names a class, integration or vendor that does not exist.
    #[error("policy `{policy}` names {name}, which does not exist")]
    UnknownName {
        /// Its `@id`.
        policy: String,
        /// The name, as Cedar writes it.
        name: String,
    },
    /// The strict validator found something; its words.
    #[error("the policies are not valid: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// The rules of one deployment at one registry revision.
///
/// Immutable: a change of contract, registry or policy text is a new value, which the data path swaps in whole.
#[derive(Debug)]
pub struct Policies {
    words: Words,
    schema: Schema,
    entities: Entities,
    classes: ClassTable,
    grants: HashMap<GrantId, CompiledGrant>,
    authorizer: Authorizer,
    hash: Digest,
    revision: u64,
}

#[derive(Debug)]
struct CompiledGrant {
    grant: Arc<Grant>,
    operations: HashMap<OperationId, Slot>,
}

/// The policies that can matter to one grant and operation, and the ruling per standing once one was asked for.
/// Two cells a slot bound the memo by what was compiled; there is nothing to evict.
#[derive(Debug)]
struct Slot {
    slice: Arc<PolicySet>,
    approved: OnceLock<Memo>,
    restricted: OnceLock<Memo>,
}

/// A ruling and all the inputs it is a function of, beside the policies themselves.
#[derive(Clone, Debug)]
struct Memo {
    integration: IntegrationId,
    standing: Standing,
    tier: u8,
    purpose: Purpose,
    scope: std::mem::Discriminant<SubjectScope>,
    kind: OperationKind,
    candidates: ClassSet,
    bare: bool,
    ruling: Ruling,
}

/// The states in which an integration reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    Approved,
    Restricted,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Restricted => "restricted",
        }
    }
}

/// All that a ruling depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) integration: IntegrationId,
    pub(crate) standing: Standing,
    pub(crate) tier: u8,
    pub(crate) grant: &'a Grant,
    pub(crate) operation: &'a OperationId,
    pub(crate) kind: OperationKind,
    /// The classes to rule on: granted, and possible in the operation's responses.
    pub(crate) candidates: ClassSet,
    /// The operation returns no data, so the ruling is on the operation itself.
    pub(crate) bare: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// These of the candidates; none only if the operation returns no data.
    Allowed(ClassSet),
    Nothing {
        forbidden_by: Option<Arc<str>>,
    },
    Failed {
        policy: Arc<str>,
    },
}

impl Policies {
    /// Compiles the rules for `operations` (of the contract), `classes` and `directory`.
    ///
    /// `operator_policies`: Cedar text, may be empty; each policy carries an `@id` and forbids. Everything is validated
    /// strictly against the generated schema, warnings of the operator's part included: a rule that can never apply is
    /// a misunderstanding.
    ///
    /// # Errors
    /// [`PolicyError`]: the text is at fault, nothing is compiled.
    pub fn compile(
        operations: &[OperationFacts<'_>],
        classes: &ClassTable,
        directory: &Directory,
        operator_policies: &str,
    ) -> Result<Self, PolicyError> {
        let unreadable = |error: &dyn std::fmt::Display| PolicyError::Unreadable(error.to_string());
        let words = Words::new().ok_or_else(|| unreadable(&"our own entity types"))?;
        let schema_text = schema_text(operations);
        let (schema, _) = Schema::from_cedarschema_str(&schema_text).map_err(|e| unreadable(&e))?;
        let entities =
            words.entities(classes, directory, &schema).map_err(|error| unreadable(&error))?;

        let known: BTreeSet<&OperationId> = operations.iter().map(|o| o.id).collect();
        let mut granted = BTreeMap::new();
        let mut canonical = format!("{schema_text}\n{BASE}\n{operator_policies}\n");
        for grant in directory.grants.values() {
            // A grant can outlive an operation of the contract; what is gone permits nothing.
            let mut policy_of = grant.clone();
            policy_of.operations.retain(|id| known.contains(id));
            if !directory.integrations.contains_key(&grant.integration)
                || policy_of.operations.is_empty()
            {
                continue;
            }
            let text = words.grant_policy(&policy_of, classes);
            canonical.push_str(&text);
            let policy = Policy::parse(Some(PolicyId::new(grant.id.to_string())), &text)
                .map_err(|error| unreadable(&error))?;
            granted.insert(grant.id, policy);
        }
        let forbids = forbids(operator_policies, &words, &entities)?;
        if !operations.is_empty() {
            validate(&schema, forbids.iter().chain(granted.values()))?;
        }

        Ok(Self {
            grants: slices(directory, &known, &granted, &forbids, &words),
            hash: sha256(canonical.as_bytes()),
            revision: directory.revision,
            classes: classes.clone(),
            authorizer: Authorizer::new(),
            words,
            schema,
            entities,
        })
    }

    /// SHA-256 over the schema and every policy's text, grants included: what records name as the policy in force.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The registry revision they were compiled from.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The ruling on `question`, from the memo if it holds one for exactly these inputs.
    pub(crate) fn rule(&self, question: &Question<'_>) -> Ruling {
        let Some(slot) = self.slot(question) else {
            return Ruling::Nothing { forbidden_by: None };
        };
        let cell = match question.standing {
            Standing::Approved => &slot.approved,
            Standing::Restricted => &slot.restricted,
        };
        if let Some(memo) = cell.get()
            && memo.answers(question)
        {
            return memo.ruling.clone();
        }
        let ruling = self.rule_afresh(question);
        // A taken cell holds the ruling for other inputs (a tier changed after compilation). It stays: the next
        // compilation starts with empty cells.
        let _ = cell.set(Memo::new(question, ruling.clone()));
        ruling
    }

    /// The ruling as Cedar gives it, one request per class.
    pub(crate) fn rule_afresh(&self, question: &Question<'_>) -> Ruling {
        let Some(slot) = self.slot(question) else {
            return Ruling::Nothing { forbidden_by: None };
        };
        let mut allowed = ClassSet::EMPTY;
        let mut forbidden_by = None;
        let asked: Vec<(Option<ClassNumber>, &str)> = if question.bare {
            vec![(None, NO_DATA)]
        } else {
            question
                .candidates
                .iter()
                .filter_map(|number| Some((Some(number), self.classes.name(number)?.as_str())))
                .collect()
        };
        let Ok(context) = self.words.context(question) else {
            return Ruling::Failed { policy: SCHEMA.into() };
        };
        let mut any = false;
        for (number, name) in asked {
            match self.ask(question, name, context.clone(), &slot.slice) {
                Answer::Yes => {
                    any = true;
                    number.into_iter().for_each(|number| allowed.insert(number));
                }
                Answer::No { forbidden_by: id } => forbidden_by = forbidden_by.or(id),
                Answer::Failed { policy } => return Ruling::Failed { policy },
            }
        }
        if any { Ruling::Allowed(allowed) } else { Ruling::Nothing { forbidden_by } }
    }

    /// The grant as a shared value: the compiled one where it is known to be the same.
    pub(crate) fn share(&self, grant: &Grant, revision: u64) -> Arc<Grant> {
        match self.grants.get(&grant.id) {
            Some(known) if revision == self.revision || *known.grant == *grant => {
                Arc::clone(&known.grant)
            }
            _ => Arc::new(grant.clone()),
        }
    }

    fn slot(&self, question: &Question<'_>) -> Option<&Slot> {
        self.grants.get(&question.grant.id)?.operations.get(question.operation)
    }

    fn ask(
        &self,
        question: &Question<'_>,
        class: &str,
        context: Context,
        slice: &PolicySet,
    ) -> Answer {
        let Ok(request) = self.words.request(question, class, context, &self.schema) else {
            return Answer::Failed { policy: SCHEMA.into() };
        };
        let response = self.authorizer.is_authorized(&request, slice, &self.entities);
        let diagnostics = response.diagnostics();
        //= Cedar: a policy whose evaluation errors is skipped. A skipped `forbid` would permit, so any error refuses.
        if let Some(AuthorizationError::PolicyEvaluationError(error)) = diagnostics.errors().next()
        {
            return Answer::Failed { policy: error.policy_id().to_string().into() };
        }
        match response.decision() {
            Decision::Allow => Answer::Yes,
            Decision::Deny => {
                let id = diagnostics.reason().map(ToString::to_string).min();
                Answer::No { forbidden_by: id.map(Into::into) }
            }
        }
    }
}

enum Answer {
    Yes,
    No { forbidden_by: Option<Arc<str>> },
    Failed { policy: Arc<str> },
}

impl Memo {
    fn new(question: &Question<'_>, ruling: Ruling) -> Self {
        Self {
            integration: question.integration,
            standing: question.standing,
            tier: question.tier,
            purpose: question.grant.purpose.clone(),
            scope: discriminant(&question.grant.scope),
            kind: question.kind,
            candidates: question.candidates,
            bare: question.bare,
            ruling,
        }
    }

    /// Grant and operation are the slot's own.
    fn answers(&self, question: &Question<'_>) -> bool {
        self.integration == question.integration
            && self.standing == question.standing
            && self.tier == question.tier
            && self.purpose == question.grant.purpose
            && self.scope == discriminant(&question.grant.scope)
            && self.kind == question.kind
            && self.candidates == question.candidates
            && self.bare == question.bare
    }
}

/// The base and the operator's policies, each under its `@id`.
fn forbids(
    operator_policies: &str,
    words: &Words,
    entities: &Entities,
) -> Result<Vec<Policy>, PolicyError> {
    let mut named = BTreeMap::new();
    for (text, names_must_exist) in [(BASE, false), (operator_policies, true)] {
        let set: PolicySet = text.parse().map_err(|error: cedar_policy::ParseErrors| {
            PolicyError::Unreadable(error.to_string())
        })?;
        if set.templates().next().is_some() {
            return Err(PolicyError::Template);
        }
        for policy in set.policies() {
            let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
                // Cedar numbers the policies of a text `policy0`, `policy1`, ...
                let number = policy.id().to_string();
                let number = number.trim_start_matches("policy").parse::<usize>().unwrap_or(0);
                return Err(PolicyError::NoId { position: number + 1 });
            };
            if policy.effect() == Effect::Permit {
                return Err(PolicyError::Permits(id.to_owned()));
            }
            let literals = policy.entity_literals();
            let unknown = literals.iter().find(|literal| !words.knows(literal, entities));
            if let Some(name) = unknown.filter(|_| names_must_exist) {
                let (policy, name) = (id.to_owned(), name.to_string());
                return Err(PolicyError::UnknownName { policy, name });
            }
            if named.insert(id.to_owned(), policy.new_id(PolicyId::new(id))).is_some() {
                return Err(PolicyError::SameId(id.to_owned()));
            }
        }
    }
    Ok(named.into_values().collect())
}

fn validate<'p>(
    schema: &Schema,
    policies: impl Iterator<Item = &'p Policy>,
) -> Result<(), PolicyError> {
    let set = PolicySet::from_policies(policies.cloned())
        .map_err(|error| PolicyError::Invalid(vec![error.to_string()]))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(ToString::to_string);
    let warnings = result.validation_warnings().map(ToString::to_string);
    let mut found: Vec<String> = errors.chain(warnings).collect();
    if found.is_empty() {
        return Ok(());
    }
    found.sort_unstable();
    Err(PolicyError::Invalid(found))
}

/// One policy set per (integration, operation): Cedar evaluates every policy it is given, so it is given few.
fn slices(
    directory: &Directory,
    known: &BTreeSet<&OperationId>,
    granted: &BTreeMap<GrantId, Policy>,
    forbids: &[Policy],
    words: &Words,
) -> HashMap<GrantId, CompiledGrant> {
    let mut sets: HashMap<(IntegrationId, &OperationId), Arc<PolicySet>> = HashMap::new();
    let mut by_operation: HashMap<(IntegrationId, &OperationId), Vec<&Policy>> = HashMap::new();
    for grant in directory.grants.values() {
        let Some(policy) = granted.get(&grant.id) else { continue };
        for operation in grant.operations.iter().filter(|id| known.contains(id)) {
            by_operation.entry((grant.integration, operation)).or_default().push(policy);
        }
    }
    // Operations of one grant mostly meet the same policies, and then share the set.
    let mut shared: HashMap<Vec<&PolicyId>, Arc<PolicySet>> = HashMap::new();
    for ((integration, operation), permits) in by_operation {
        let Some(of) = directory.integrations.get(&integration) else { continue };
        let place = Place {
            integration: words.integration(of.id),
            vendor: words.vendor(of.vendor),
            action: words.action(operation.as_str()),
        };
        let relevant = forbids.iter().filter(|policy| place.can_concern(policy));
        let policies: Vec<&Policy> = relevant.chain(permits).collect();
        // `validate` has built a set of all of them, so their ids are distinct; an empty set would permit nothing.
        let set = shared.entry(policies.iter().map(|policy| policy.id()).collect()).or_insert_with(
            || {
                Arc::new(
                    PolicySet::from_policies(policies.into_iter().cloned()).unwrap_or_default(),
                )
            },
        );
        sets.insert((integration, operation), Arc::clone(set));
    }
    let slot = |set: &Arc<PolicySet>| Slot {
        slice: Arc::clone(set),
        approved: OnceLock::new(),
        restricted: OnceLock::new(),
    };
    let compiled = |grant: &Grant| CompiledGrant {
        grant: Arc::new(grant.clone()),
        operations: grant
            .operations
            .iter()
            .filter_map(|id| Some((id.clone(), slot(sets.get(&(grant.integration, id))?))))
            .collect(),
    };
    directory.grants.values().map(|grant| (grant.id, compiled(grant))).collect()
}

/// Who asks for what, as a policy's scope names it.
struct Place {
    integration: EntityUid,
    vendor: EntityUid,
    action: EntityUid,
}

impl Place {
    /// Whether the policy's scope admits it. Conditions are left to Cedar.
    fn can_concern(&self, policy: &Policy) -> bool {
        let principal_fits = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
            PrincipalConstraint::Eq(uid) => uid == self.integration,
            PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                uid == self.integration || uid == self.vendor
            }
        };
        principal_fits
            && match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => uid == self.action,
                ActionConstraint::In(uids) => uids.contains(&self.action),
            }
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let hashed = digest(&SHA256, bytes);
    let mut out = Digest::default();
    out.copy_from_slice(hashed.as_ref());
    out
}
