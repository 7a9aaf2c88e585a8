//! The crate's tests from the outside in: tables that read as the rules, a naive reference beside the filter, real documents.

mod contract;
mod desk;
mod documents;
mod naive;
mod overlay;
mod property;
mod request;
mod rules;
mod speed;
mod stream;
