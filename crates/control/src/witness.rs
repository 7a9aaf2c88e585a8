//! Witnesses (C2SP tlog-witness): others who see each checkpoint, check that the log only grew, and sign that they saw it.
//!
//! Once a second the newest checkpoint goes to every witness that is not resting, with the proof that it continues what that
//! witness saw last. What they sign is put beside the published checkpoint. None of this is waited for: records, receipts and
//! checkpoints are made as if there were no witnesses. Only at a start are they asked first, because a witness that knows more of
//! this log than the directory does has seen what a restored copy has forgotten.

mod wire;

use crate::fetch::{NoAnswer, Site};
use crate::listen::told;
use crate::log_listener::COSIGNED;
use ledger::TreeHead;
use ledger::checkpoint;
use ledger::cosign::{self, CosignerKey};
use ledger::note::{BadNote, VerifyingKey};
use ledger::tile::{BadTile, TileReader};
use model::Digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};
use wire::{Refusal, request};

/// How often checkpoints are submitted at most.
const ROUND: Duration = Duration::from_secs(1);

/// How long a round waits for a witness: as long as a checkpoint waits for its cosignatures, less the round itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// How long a witness that failed rests, at first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How often a witness has to say that it saw another history, without cosigning in between, before it is acted upon.
const CONTRADICTED: u32 = 2;

/// A witness, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its submission prefix.
    pub url: String,
    /// What its cosignatures are checked with.
    pub key: CosignerKey,
}

/// A witness has seen another history of this log than the directory has. The operator has to act before anything is signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OtherHistory {
    /// It saw more.
    #[error(
        "the witness `{witness}` has seen {seen} records of this log and the data directory's checkpoint is of {ours}: the directory is an older copy. Restore the newer one; if it is lost, open the next generation of the log with `portcullis log next-generation`"
    )]
    OlderCopy {
        /// Who says so.
        witness: String,
        /// What it saw.
        seen: u64,
        /// What there is here.
        ours: u64,
    },
    /// It saw as much and other records.
    #[error(
        "the witness `{witness}` has seen other records than the data directory holds: the log's key signed a second history. Find out who else has the key; then open the next generation with `portcullis log next-generation`"
    )]
    Fork {
        /// Who says so.
        witness: String,
    },
}

/// How it stands with one witness.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Size of the last checkpoint it cosigned in this run.
    pub cosigned: u64,
    /// Rounds in a row that it failed.
    pub failed: u32,
    /// Whether it has said that it saw another history, and cosigned nothing since.
    pub other_history: bool,
}

/// The witnesses of one log.
pub struct Witnesses {
    /// In the order of the configuration.
    known: Vec<Witness>,
    log: VerifyingKey,
    /// The log's directory.
    directory: PathBuf,
    readings: Mutex<BTreeMap<String, Reading>>,
}

/// One witness, between rounds.
struct Line {
    witness: Witness,
    site: Site,
    /// Size of the last checkpoint that it has of us, as far as we know.
    seen: u64,
    /// Size of the last one that it cosigned for us.
    cosigned: u64,
    failed: u32,
    /// How often it said that it saw another history, since it cosigned last.
    contradicted: u32,
    rests_until: Option<Instant>,
}

/// Why a witness gave no cosignature.
#[derive(Debug, Error)]
enum Failed {
    #[error("it did not answer within {ANSWERS_WITHIN:?}")]
    Late,
    #[error("it cannot be reached")]
    Unreachable(#[from] NoAnswer),
    #[error("it refused with status {0}")]
    Refused(u16),
    #[error("it names another size each time")]
    Undecided,
    #[error("its cosignature does not hold")]
    Note(#[from] BadNote),
    #[error("it answered without its cosignature")]
    NoCosignature,
    #[error("the proof for it cannot be made")]
    Proof(#[from] BadTile),
    #[error(transparent)]
    OtherHistory(#[from] OtherHistory),
}

impl Witnesses {
    /// `directory`: `ledger` of the data directory. `log`: the key that checkpoints are signed with.
    pub fn new(known: Vec<Witness>, log: VerifyingKey, directory: &Path) -> Arc<Self> {
        let readings =
            known.iter().map(|witness| (witness.key.name().to_owned(), Reading::default()));
        let readings = Mutex::new(readings.collect());
        Arc::new(Self { known, log, directory: directory.to_owned(), readings })
    }

    /// How it stands with each, by name.
    pub fn readings(&self) -> BTreeMap<String, Reading> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has every witness cosign `note`, the last checkpoint that was stored, or a checkpoint of the empty log: it must neither know
    /// more of the log, nor have seen other records than those that `note` continues. To be called before the log is opened: opening
    /// it writes and signs.
    ///
    /// A witness that does not answer proves nothing either way; that is said at ERROR, and the node starts. Refusing would let
    /// whoever takes a witness down keep the node from starting, its sever path included.
    ///
    /// # Errors
    /// [`OtherHistory`].
    pub async fn ask_at_start(&self, note: &str) -> Result<(), OtherHistory> {
        let tree = match checkpoint::open(note, std::slice::from_ref(&self.log)) {
            Ok(checkpoint) => checkpoint.tree,
            Err(bad) => {
                let reason = &bad as &dyn std::error::Error;
                error!(reason, "no witness was asked: the stored checkpoint does not hold");
                return Ok(());
            }
        };
        let mut asked = JoinSet::new();
        for mut line in self.known.iter().filter_map(Line::new) {
            // It should have seen what was stored last. Is it less, the second try proves what has come since.
            line.seen = tree.size;
            let (note, directory) = (note.to_owned(), self.directory.clone());
            asked.spawn(async move {
                let Err(failed) = line.cosign(&note, tree, &directory).await else { return Ok(()) };
                let (witness, reason) =
                    (line.witness.key.name(), &failed as &dyn std::error::Error);
                match &failed {
                    Failed::OtherHistory(other) => return Err(other.clone()),
                    Failed::Late | Failed::Unreachable(_) => {
                        error!(witness, reason, "a witness does not answer: whether the directory is an older copy is not known");
                    }
                    Failed::Proof(_) => {
                        error!(witness, reason, "a witness saw less than there is: whether the directory continues it is not known");
                    }
                    Failed::Refused(_) | Failed::Undecided | Failed::Note(_) | Failed::NoCosignature => {
                        warn!(witness, reason, "a witness refused the checkpoint");
                    }
                }
                Ok(())
            });
        }
        while let Some(said) = asked.join_next().await {
            said.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Submits the newest checkpoint once a second, until `stop` is true. `newest`: the last published one. `contradicted`: called
    /// when a witness says twice that it has seen another history, so that nothing more is signed that may be a second one.
    pub async fn run(
        self: Arc<Self>,
        newest: impl Fn() -> Option<Arc<str>>,
        contradicted: impl Fn(),
        mut stop: watch::Receiver<bool>,
    ) {
        let mut lines: Vec<Line> = self.known.iter().filter_map(Line::new).collect();
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut done, mut acted) = (0, false);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = told(&mut stop) => return,
            }
            let Some(note) = newest() else { continue };
            let Ok(checkpoint) = checkpoint::open(&note, std::slice::from_ref(&self.log)) else {
                continue;
            };
            let tree = checkpoint.tree;
            if tree.size == done && lines.iter().all(|line| line.cosigned == done) {
                continue;
            }
            lines = self.round(lines, &note, tree).await;
            done = tree.size;
            if !acted && lines.iter().any(|line| line.contradicted >= CONTRADICTED) {
                acted = true;
                error!(
                    "no more checkpoints are signed: a witness stands by another history of the log. Stop the node"
                );
                contradicted();
            }
        }
    }

    /// Has everybody who is not resting cosign this checkpoint, and writes down what they signed.
    async fn round(&self, lines: Vec<Line>, note: &Arc<str>, tree: TreeHead) -> Vec<Line> {
        let mut asked = JoinSet::new();
        let mut back = BTreeMap::new();
        for (place, mut line) in lines.into_iter().enumerate() {
            let rests = line.rests_until.is_some_and(|until| until > Instant::now());
            if rests || line.cosigned == tree.size {
                back.insert(place, line);
                continue;
            }
            let (note, directory) = (Arc::clone(note), self.directory.clone());
            asked.spawn(async move {
                let asked = timeout(ANSWERS_WITHIN, line.cosign(&note, tree, &directory)).await;
                (place, line, asked.unwrap_or(Err(Failed::Late)))
            });
        }
        let mut signed = String::new();
        while let Some(answered) = asked.join_next().await {
            let Ok((place, mut line, answer)) = answered else { continue };
            match answer {
                Ok(cosignature) => {
                    if line.failed > 0 {
                        info!(witness = line.witness.key.name(), "a witness cosigns again");
                    }
                    (line.failed, line.contradicted, line.rests_until) = (0, 0, None);
                    signed.push_str(&cosignature);
                }
                Err(failed) => line.rest(&failed),
            }
            self.note_down(&line);
            back.insert(place, line);
        }
        if !signed.is_empty() {
            self.keep(note, &signed).await;
        }
        back.into_values().collect()
    }

    fn note_down(&self, line: &Line) {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading {
            cosigned: line.cosigned,
            failed: line.failed,
            other_history: line.contradicted > 0,
        };
        readings.insert(line.witness.key.name().to_owned(), reading);
    }

    /// Puts the cosignatures beside the checkpoint. What a witness that was slower signed of the same checkpoint stays.
    async fn keep(&self, note: &str, signed: &str) {
        let path = self.directory.join(COSIGNED);
        let text = |note: &str| note.split_once("\n\n").map(|(text, _)| text.to_owned());
        let had = tokio::fs::read_to_string(&path).await.ok();
        let had = had.filter(|had| text(had) == text(note));
        let keys: Vec<_> = self.known.iter().map(|witness| witness.key.clone()).collect();
        let Ok(cosigned) = cosign::add(had.as_deref().unwrap_or(note), signed, &keys) else {
            return;
        };
        let whole = path.with_extension("cosigned.new");
        let written = match tokio::fs::write(&whole, cosigned).await {
            Ok(()) => tokio::fs::rename(&whole, &path).await,
            failed @ Err(_) => failed,
        };
        if let Err(error) = written {
            warn!(%error, "cosignatures could not be stored");
        }
    }
}

impl Line {
    fn new(witness: &Witness) -> Option<Self> {
        let site = Site::new(&witness.url).ok()?;
        let witness = witness.clone();
        Some(Self {
            witness,
            site,
            seen: 0,
            cosigned: 0,
            failed: 0,
            contradicted: 0,
            rests_until: None,
        })
    }

    /// Has the witness cosign, and gives its line.
    async fn cosign(
        &mut self,
        note: &str,
        tree: TreeHead,
        directory: &Path,
    ) -> Result<String, Failed> {
        let name = self.witness.key.name().to_owned();
        // Once with what we believe it saw, once more with what it says it saw.
        for _attempt in 0..2 {
            let proof = consistency(directory.to_owned(), tree, self.seen).await?;
            let answer = self.site.post("add-checkpoint", request(self.seen, &proof, note)).await?;
            if answer.status == 200 {
                let lines = wire::text(&answer).ok_or(Failed::NoCosignature)?;
                let keys = std::slice::from_ref(&self.witness.key);
                let cosigned = cosign::add(note, lines, keys)?;
                let line = cosigned.strip_prefix(note).filter(|line| !line.is_empty());
                let line = line.ok_or(Failed::NoCosignature)?.to_owned();
                (self.seen, self.cosigned) = (tree.size, tree.size);
                return Ok(line);
            }
            let seen = held(&name, wire::refusal(&answer), tree.size)?;
            self.seen = seen.ok_or(Failed::Refused(answer.status))?;
        }
        Err(Failed::Undecided)
    }

    fn rest(&mut self, failed: &Failed) {
        let (first, most) = REST;
        let rest = first.saturating_mul(1_u32 << self.failed.min(16)).min(most);
        self.failed = self.failed.saturating_add(1);
        self.rests_until = Instant::now().checked_add(rest);
        let (witness, reason) = (self.witness.key.name(), failed as &dyn std::error::Error);
        if matches!(failed, Failed::OtherHistory(_)) {
            self.contradicted = self.contradicted.saturating_add(1);
            error!(
                witness,
                reason,
                "a witness has seen another history of the log: what this node signs may be a second one"
            );
        } else {
            warn!(witness, reason, rest_s = rest.as_secs(), "a witness did not cosign");
        }
    }
}

/// What a witness that was shown a checkpoint of `ours` records has seen of the log, if that is no other history.
fn held(witness: &str, refusal: Refusal, ours: u64) -> Result<Option<u64>, OtherHistory> {
    let witness = witness.to_owned();
    match refusal {
        Refusal::Seen(seen) if seen > ours => Err(OtherHistory::OlderCopy { witness, seen, ours }),
        Refusal::Fork => Err(OtherHistory::Fork { witness }),
        Refusal::Seen(seen) => Ok(Some(seen)),
        Refusal::Other(_) => Ok(None),
    }
}

/// The proof that `tree` continues its first `seen` records, from the published tiles.
async fn consistency(
    directory: PathBuf,
    tree: TreeHead,
    seen: u64,
) -> Result<Vec<Digest>, BadTile> {
    if seen == 0 || seen >= tree.size {
        return Ok(Vec::new());
    }
    let made = tokio::task::spawn_blocking(move || {
        let mut files = TileReader::open(tree, |path| std::fs::read(directory.join(path)).ok())?;
        files.consistency(seen)
    });
    made.await.unwrap_or(Err(BadTile::Beyond(seen)))
}

#[cfg(test)]
mod tests;
