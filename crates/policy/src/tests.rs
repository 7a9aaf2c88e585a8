//! The rules as a deployment meets them. Most go through [`crate::decide::weigh`], which is `decide` without the caller's
//! proof.

mod erring;
mod fixture;
mod matrix;
mod memo;
mod predicates;
mod text;
