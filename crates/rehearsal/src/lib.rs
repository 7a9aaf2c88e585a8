//! Incidents as scenarios: their format, the honest traffic around them, the truth about them, the scoreboard and its picture.
//!
//! Pure: no sockets, no clocks. `portcullis rehearse` plays what this crate reads against a real gateway; [`Scoreboard`] is
//! what came of it. Deliberately absent: any judgement by the gateway's own word. Who was read is what the origin logged and
//! a client received ([`truth`]). Start reading at [`scenario`], whose types are the file format, then [`benign`].

pub mod attack;
pub mod benign;
pub mod dice;
pub mod picture;
pub mod quiet;
pub mod scenario;
pub mod scoreboard;
pub mod span;
pub mod trial;
pub mod truth;
pub mod watched;

pub use benign::Class;
pub use dice::Dice;
pub use scenario::{BadScenario, Mode, Scenario, Step};
pub use scoreboard::Scoreboard;
pub use span::Span;
pub use truth::Truth;
