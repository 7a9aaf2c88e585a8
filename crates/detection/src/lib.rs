//! Guards before release and detectors after it, as folds over what happened.
//!
//! [`ExposureBudgets`] and [`ListedNetworks`] are asked before bytes leave; [`Detectors`] are told afterwards and answer with
//! [`Signal`]s, each with the containment it calls for. Nothing here contains anything: that is posture's part, and what a
//! signal proposes is the caller's to carry out.
//!
//! Start reading at [`Detectors::fold`]; [`signal`] lists every finding and every containment, [`defaults`] every number.

pub mod allowance;
mod baseline;
pub mod budget;
mod contributors;
mod cusum;
pub mod defaults;
pub mod detector;
pub mod detectors;
mod distinct;
pub mod habits;
mod hasher;
pub mod intel;
pub mod listed;
mod lru;
mod networks;
pub mod observation;
mod paging;
pub mod relationships;
pub mod rule;
mod shift;
pub mod signal;
pub mod statistic;
mod stream;
mod strikes;
pub mod windows;

pub use allowance::{Allowances, Draw};
pub use budget::{ExposureBudget, ExposureBudgets, Hold};
pub use defaults::Defaults;
pub use detector::{Detector, Event};
pub use detectors::Detectors;
pub use habits::{Habits, Unusual, Use};
pub use intel::standing::{Intelligence, Standing};
pub use listed::{Extent, ListOwner, ListReport, Listed, ListedNetworks, Spared};
pub use observation::{Asked, Inner, KeyedHash, Observation};
pub use relationships::Relationships;
pub use rule::{Evidence, RULES};
pub use signal::{Cause, Containment, NetworkGroup, Signal};
pub use statistic::{Family, Statistic, Stream};
pub use windows::{Window, WindowKind, Windows};
