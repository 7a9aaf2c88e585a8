//! JSON bodies: one pass that validates every byte and decides what is kept, then one that moves the kept bytes together.
//!
//! Start reading at [`filter`]. Nothing here knows about HTTP, permits or contracts beyond the compiled plan.

pub(crate) mod filter;
pub(crate) mod scan;

mod keeps;
mod record;
