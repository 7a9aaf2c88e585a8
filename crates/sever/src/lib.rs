//! The kill switch: what is cut off, who may still pass, and which releases a new cut has to abort.
//!
//! The order to read in is the order of events. An operator or a rule names a [`Target`]; the [`Entry`] that says so
//! extends the hash chain of [`Posture`]; the [`Switch`] publishes it and walks every [`Gate`], and when that walk
//! returns no [`Passage`] older than the entry is open. Sockets, clocks and the posture file belong to the shell.

pub mod entry;
pub mod lease;
pub mod posture;
pub mod switch;
pub mod target;

pub use entry::{Authority, Change, Entry};
pub use lease::{BootMicros, Lease};
pub use posture::{Containment, NotTaken, Posture};
pub use switch::{Cut, Gate, Passage, Settled, Switch};
pub use target::{Bearing, Target};
