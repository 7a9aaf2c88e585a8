//! Guards before release and detectors after it, as folds over what happened.
//!
//! [`ExposureBudgets`] and [`ListedNetworks`] are asked before bytes leave; [`Detector`] is told afterwards and answers with
//! [`Signal`]s, each with the containment it calls for. Nothing here contains anything: that is posture's part, and what a
//! signal proposes is the caller's to carry out.
//!
//! Start reading at [`Detector::fold`]; [`signal`] lists every finding and every containment.

pub mod budget;
pub mod detector;
pub mod habits;
pub mod listed;
pub mod signal;
mod strikes;

pub use budget::{ExposureBudget, ExposureBudgets, Hold};
pub use detector::{Detector, Event};
pub use habits::{Habits, Unusual, Use};
pub use listed::{BadLine, ListOwner, ListReport, Listed, ListedNetworks};
pub use signal::{Cause, Containment, NetworkGroup, Signal};
