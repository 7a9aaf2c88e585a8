//! May it? Decides what an authenticated caller may read through one operation, and says so in a [`Permit`].
//!
//! The rules are Cedar: a schema generated from the contract and the registry, forbidding policies from a file, and one
//! permitting policy per grant. Cedar sees categories only; time, state and subject scope are checked natively. This
//! crate does not look at data: [`Permit::classes`] and [`Permit::scope`] are applied by `disclosure`.
//!
//! Start reading at [`decide()`], then [`Policies::compile`].

pub mod consents;
pub mod decide;
pub mod operation;
pub mod permit;
pub mod policies;
mod schema;

pub use consents::{ConsentBook, Terms};
pub use decide::{Refused, decide};
pub use operation::OperationFacts;
pub use permit::Permit;
pub use policies::{Policies, PolicyError};

#[cfg(test)]
mod tests;
