//! What tests put around a disclosure: a vault that numbers subjects as they come, a budget, a permit's allowance.

use crate::release::{disclose_batch_within, disclose_within};
use crate::scope::Allowance;
use crate::*;
use model::{ClassSet, ClassTable, DataClass, Pseudonym, SubjectId, SubjectOrdinal, SubjectScope};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn subject(id: &str) -> SubjectId {
    SubjectId::new(id).unwrap()
}

/// Stand-ins made at first sight: the n-th subject has ordinal n and pseudonym n.
#[derive(Default)]
pub(super) struct Vault {
    pub(super) rows: BTreeMap<SubjectId, u32>,
    pub(super) down: bool,
}

impl KnowSubjects for Vault {
    fn row(&mut self, id: &SubjectId) -> Result<(SubjectOrdinal, Pseudonym), Unavailable> {
        if self.down {
            return Err(Unavailable);
        }
        let next = u32::try_from(self.rows.len()).unwrap();
        let ordinal = *self.rows.entry(id.clone()).or_insert(next);
        let mut pseudonym = [0; 16];
        pseudonym[12..].copy_from_slice(&ordinal.to_be_bytes());
        Ok((SubjectOrdinal(ordinal), Pseudonym(pseudonym)))
    }
}

/// A budget of so many distinct subjects.
pub(super) struct Budget {
    pub(super) left: usize,
    pub(super) charges: Vec<Vec<SubjectOrdinal>>,
}

impl ChargeBudget for Budget {
    fn charge(&mut self, subjects: &[SubjectOrdinal]) -> Result<(), OverBudget> {
        self.charges.push(subjects.to_vec());
        if subjects.len() > self.left {
            return Err(OverBudget);
        }
        self.left -= subjects.len();
        Ok(())
    }
}

/// A contract and everything a permit would say.
pub(super) struct Desk {
    pub(super) contract: Contract,
    pub(super) table: ClassTable,
    pub(super) granted: Vec<&'static str>,
    pub(super) scope: SubjectScope,
    pub(super) token_subject: Option<SubjectId>,
    pub(super) honey: BTreeSet<SubjectId>,
    pub(super) honey_expected: bool,
    pub(super) vault: Vault,
    pub(super) budget: Budget,
    pub(super) reply_headers: Vec<(String, Vec<u8>)>,
    pub(super) status: u16,
}

impl Desk {
    pub(super) fn new(openapi: &str, overlay: &str) -> Self {
        let mut table = ClassTable::default();
        let contract = Contract::compile(openapi, overlay, &mut table).unwrap();
        Self {
            contract,
            table,
            granted: Vec::new(),
            scope: SubjectScope::All,
            token_subject: None,
            honey: BTreeSet::new(),
            honey_expected: false,
            vault: Vault::default(),
            budget: Budget { left: usize::MAX, charges: Vec::new() },
            reply_headers: vec![("Content-Type".into(), b"application/json".to_vec())],
            status: 200,
        }
    }

    pub(super) fn grant(mut self, classes: &[&'static str]) -> Self {
        self.granted = classes.to_vec();
        self
    }

    pub(super) fn scope(mut self, scope: SubjectScope) -> Self {
        self.scope = scope;
        self
    }

    pub(super) fn token(mut self, id: &str) -> Self {
        self.token_subject = Some(subject(id));
        self.scope = SubjectScope::TokenSubject;
        self
    }

    pub(super) fn classes(&self) -> ClassSet {
        self.granted
            .iter()
            .map(|class| self.table.covered_by(&DataClass::new(class).unwrap()))
            .fold(ClassSet::EMPTY, |all, some| all.union(&some))
    }

    pub(super) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Disclosed, Withheld> {
        let classes = self.classes();
        let allowance = Allowance {
            classes: &classes,
            scope: &self.scope,
            token_subject: self.token_subject.as_ref(),
        };
        let matched = self.contract.operation(method, path).unwrap();
        let reply = OriginReply {
            status: self.status,
            headers: self.reply_headers.clone(),
            body: body.to_vec(),
        };
        let honey = Honey { subjects: &self.honey, expected: self.honey_expected };
        let mut guards = Guards { subjects: &mut self.vault, budget: &mut self.budget, honey };
        disclose_within(reply, &matched, &allowance, &mut guards)
    }

    /// One batch of a stream; `first`: it comes with the reply's headers.
    pub(super) fn ask_batch(
        &mut self,
        path: &str,
        first: bool,
        values: &[&str],
    ) -> Result<Disclosed, Withheld> {
        let classes = self.classes();
        let allowance = Allowance {
            classes: &classes,
            scope: &self.scope,
            token_subject: self.token_subject.as_ref(),
        };
        let matched = self.contract.operation("GET", path).unwrap();
        let stream = matched.stream(self.status, &self.reply_headers).unwrap();
        let headers = first.then(|| self.reply_headers.clone());
        let values = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let honey = Honey { subjects: &self.honey, expected: self.honey_expected };
        let mut guards = Guards { subjects: &mut self.vault, budget: &mut self.budget, honey };
        let batch = OriginBatch { stream, headers, values };
        disclose_batch_within(batch, &matched, &allowance, &mut guards)
    }

    /// The answer as tables show it: body, then whose classes left, then what was noticed.
    pub(super) fn show(&mut self, path: &str, body: &str) -> String {
        let answer = self.ask("GET", path, body.as_bytes());
        let (mut lines, findings) = match &answer {
            Ok(disclosed) => {
                let mut lines = vec![String::from_utf8(disclosed.body().to_vec()).unwrap()];
                for touch in disclosed.touches() {
                    let ordinal = u32::from_be_bytes(touch.pseudonym.0[12..].try_into().unwrap());
                    let who = self.vault.rows.iter().find(|(_, n)| **n == ordinal).unwrap().0;
                    let classes = self.table.names(&touch.classes).join(" ");
                    lines.push(format!("{}: {classes}", who.as_str()));
                }
                (lines, disclosed.findings())
            }
            Err(withheld) => (vec![format!("{:?}", withheld.because)], &withheld.findings),
        };
        for (count, what) in [
            (findings.foreign, "foreign"),
            (findings.unbound, "unbound"),
            (findings.undeclared, "undeclared"),
            (findings.secrets, "secrets"),
        ] {
            if count > 0 {
                lines.push(format!("! {count} {what}"));
            }
        }
        for field in &findings.out_of_contract {
            lines.push(format!("! out of contract: {field}"));
        }
        lines.join("\n")
    }
}
