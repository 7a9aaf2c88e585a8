//! What happens after the cut: a case, from signal to letters, filings and post-mortem.
//!
//! Pure: it is handed frozen answers, records, addresses and the time. Everything that is said about an incident is computed from
//! one [`frozen::FrozenScope`]; nothing here asks the record a second time. Start reading at [`case`], then [`figures`].

pub mod case;
pub mod clocks;
mod date;
pub mod figures;
pub mod filing;
pub mod frozen;
pub mod notice;
pub mod people;
pub mod postmortem;
pub mod timeline;
pub mod words;

#[cfg(test)]
mod sample;
