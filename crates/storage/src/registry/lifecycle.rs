//! The life cycle of an integration, as one table.

use std::fmt;

/// Where an integration stands, as stored. `model` knows less: a retired one is expired there, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Applied for.
    Applied,
    /// Its evidence was submitted and checked; two reviewers have yet to look.
    Evidence,
    /// Reviewed by two; reads named subjects only, so that it can show what it does.
    Sandbox,
    /// Reads, until the date of its approval.
    Approved,
    /// Reads less, until the same date.
    Restricted,
    /// Cut off.
    Severed,
    /// Its approval ran out.
    Expired,
    /// Ended by an operator; never comes back.
    Retired,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Evidence is submitted, or submitted anew.
    Submit,
    /// Two reviewers let it into the sandbox.
    Review,
    /// Two operators approve, or prolong.
    Approve,
    /// Containment short of a cut.
    Restrict,
    /// The cut.
    Sever,
    /// Two operators take the cut back; the stage before it is returned to.
    Restore,
    /// The approval's date has passed.
    Expire,
    /// The end.
    Retire,
}

/// The step is not possible from this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an integration that is {stage} cannot be {step}")]
pub struct NotFromHere {
    /// Where it stands.
    pub stage: Stage,
    /// What was asked for.
    pub step: Step,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 8] = [
        Self::Applied,
        Self::Evidence,
        Self::Sandbox,
        Self::Approved,
        Self::Restricted,
        Self::Severed,
        Self::Expired,
        Self::Retired,
    ];

    /// The stage after `step`. `before`: for a severed integration, the stage it was severed in.
    ///
    /// Narrowing twice is not an error: containment may be asked for by a person and by a detector at once.
    ///
    /// # Errors
    /// [`NotFromHere`] if there is no such step.
    pub fn after(self, step: Step, before: Option<Self>) -> Result<Self, NotFromHere> {
        match (self, step) {
            // What was reviewed is not what it submits after that.
            (Self::Applied | Self::Evidence | Self::Sandbox, Step::Submit) => Ok(Self::Evidence),
            (Self::Approved | Self::Restricted | Self::Expired, Step::Submit) => Ok(self),
            (Self::Evidence | Self::Sandbox, Step::Review) => Ok(Self::Sandbox),
            (Self::Sandbox | Self::Approved | Self::Restricted | Self::Expired, Step::Approve) => {
                Ok(Self::Approved)
            }
            (Self::Approved | Self::Restricted, Step::Restrict) => Ok(Self::Restricted),
            (Self::Sandbox, Step::Expire) => Ok(Self::Evidence),
            (Self::Approved | Self::Restricted, Step::Expire) => Ok(Self::Expired),
            (Self::Retired, Step::Sever) | (_, Step::Retire) => Ok(Self::Retired),
            (_, Step::Sever) => Ok(Self::Severed),
            (Self::Severed, Step::Restore) => before.ok_or(NotFromHere { stage: self, step }),
            (
                _,
                Step::Submit
                | Step::Review
                | Step::Approve
                | Step::Restrict
                | Step::Expire
                | Step::Restore,
            ) => Err(NotFromHere { stage: self, step }),
        }
    }

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Evidence => "evidence",
            Self::Sandbox => "sandbox",
            Self::Approved => "approved",
            Self::Restricted => "restricted",
            Self::Severed => "severed",
            Self::Expired => "expired",
            Self::Retired => "retired",
        }
    }

    /// Reads what [`Stage::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Submit => "given evidence for",
            Self::Review => "let into the sandbox",
            Self::Approve => "approved",
            Self::Restrict => "restricted",
            Self::Sever => "severed",
            Self::Restore => "restored",
            Self::Expire => "expired",
            Self::Retire => "retired",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_from_every_stage() {
        // Rows: the stages; columns: submit, review, approve, restrict, sever, restore (from a cut while restricted), expire,
        // retire.
        let table = [
            ("applied", ["evidence", "-", "-", "-", "severed", "-", "-", "retired"]),
            ("evidence", ["evidence", "sandbox", "-", "-", "severed", "-", "-", "retired"]),
            (
                "sandbox",
                ["evidence", "sandbox", "approved", "-", "severed", "-", "evidence", "retired"],
            ),
            (
                "approved",
                ["approved", "-", "approved", "restricted", "severed", "-", "expired", "retired"],
            ),
            (
                "restricted",
                ["restricted", "-", "approved", "restricted", "severed", "-", "expired", "retired"],
            ),
            ("severed", ["-", "-", "-", "-", "severed", "restricted", "-", "retired"]),
            ("expired", ["expired", "-", "approved", "-", "severed", "-", "-", "retired"]),
            ("retired", ["-", "-", "-", "-", "retired", "-", "-", "retired"]),
        ];
        let steps = [
            Step::Submit,
            Step::Review,
            Step::Approve,
            Step::Restrict,
            Step::Sever,
            Step::Restore,
            Step::Expire,
            Step::Retire,
        ];
        for (stage, row) in table {
            for (step, expected) in steps.into_iter().zip(row) {
                let after = Stage::parse(stage).unwrap().after(step, Some(Stage::Restricted));
                assert_eq!(after.ok(), Stage::parse(expected), "{stage}, {step}");
            }
        }
    }
}
