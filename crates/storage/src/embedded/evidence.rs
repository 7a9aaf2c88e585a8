//! Reads of a log what an evidence bundle needs: the segments around and between its window's bounds, and a few tiles.

use crate::embedded::publisher::TILES_DIR;
use crate::embedded::states::Start;
use crate::embedded::unavailable::OpenFailed;
use crate::embedded::view::LogView;
use ledger::bundle::{Builder, CannotProve, Form, Opening, Position, Question};
use ledger::note::VerifyingKey;
use ledger::tile::{BadTile, TileReader};
use thiserror::Error;

/// Why there is no bundle.
#[derive(Debug, Error)]
pub enum NoBundle {
    /// It cannot be proved.
    #[error("{0}")]
    CannotProve(#[source] CannotProve),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[source] OpenFailed),
    /// The tiles are not those of the checkpoint.
    #[error("the log's tiles do not hold: {0}")]
    Tiles(#[source] BadTile),
}

/// The bundle's bytes.
///
/// `note`: a checkpoint that one of `keys` signed, published before.
///
/// # Errors
/// [`NoBundle`]
pub fn build(
    view: &LogView,
    question: &Question,
    form: &Form,
    note: &str,
    keys: &[VerifyingKey],
) -> Result<Vec<u8>, NoBundle> {
    near(view, question, |start| build_from(view, start, question, form, note, keys))
}

/// One touch of the sealed bundle that [`build`] makes, opened; `None` if nothing stands there.
///
/// # Errors
/// [`NoBundle`]
pub fn open(
    view: &LogView,
    question: &Question,
    form: &Form,
    note: &str,
    keys: &[VerifyingKey],
    position: Position,
) -> Result<Option<Opening>, NoBundle> {
    near(view, question, |start| {
        let builder = read(view, start, question, form, note, keys)?;
        builder.open(position).map_err(NoBundle::CannotProve)
    })
}

/// Does something from a place near the window on.
fn near<T>(
    view: &LogView,
    question: &Question,
    what: impl Fn(&Start) -> Result<T, NoBundle>,
) -> Result<T, NoBundle> {
    match what(&view.before(question.from).map_err(NoBundle::Log)?) {
        // Either the stored state or the log is damaged. With states made from the records, it is the log.
        Err(NoBundle::CannotProve(CannotProve::Corrupt(_))) => {
            view.forget_states();
            what(&view.before(question.from).map_err(NoBundle::Log)?)
        }
        done => done,
    }
}

fn read(
    view: &LogView,
    start: &Start,
    question: &Question,
    form: &Form,
    note: &str,
    keys: &[VerifyingKey],
) -> Result<Builder, NoBundle> {
    let (question, form) = (question.clone(), form.clone());
    let mut builder = Builder::new(question, form, note, keys, start.state.clone())
        .map_err(NoBundle::CannotProve)?;
    for record in view.records_after(start) {
        let (_, record) = record.map_err(NoBundle::Log)?;
        if !builder.push(&record).map_err(NoBundle::CannotProve)? {
            break;
        }
    }
    Ok(builder)
}

fn build_from(
    view: &LogView,
    start: &Start,
    question: &Question,
    form: &Form,
    note: &str,
    keys: &[VerifyingKey],
) -> Result<Vec<u8>, NoBundle> {
    let builder = read(view, start, question, form, note, keys)?;
    let fetch = |path: &str| view.disk().read(&format!("{TILES_DIR}/{path}")).ok();
    let mut tiles = TileReader::open(builder.checkpoint().tree, fetch).map_err(NoBundle::Tiles)?;
    let mut bad = None;
    let built = builder.finish(|index| match tiles.inclusion(index) {
        Ok(path) => Some(path),
        Err(error) => {
            bad = Some(error);
            None
        }
    });
    match (built, bad) {
        (Err(CannotProve::OtherTree), Some(bad)) => Err(NoBundle::Tiles(bad)),
        (built, _) => built.map_err(NoBundle::CannotProve),
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
