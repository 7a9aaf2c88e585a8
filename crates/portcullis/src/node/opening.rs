//! Opens what a data directory holds.

use super::log_keys::{log_key, log_origin, next_signing_key, signing_key, vault_keys};
use crate::config::Config;
use crate::{generation, keys};
use anyhow::{Context, Result};
use control::consents::Kept;
use control::questions::Former;
use control::witness::Witnesses;
use gateway::node::Node;
use ledger::note;
use ledger::{Draft, TreeHead, checkpoint};
use policy::ConsentBook;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use storage::clock;
use storage::consents::Consents;
use storage::embedded::logs::{INDEXES_DIR, REPLICAS_DIR};
use storage::embedded::recorder::{self, Opened, Opening};
use storage::embedded::{Beside, ExposureIndex, Keeper, Logs, PostureRegister};
use storage::outbox::Outbox;
use storage::secrets::KeyFiles;
use tracing::warn;

/// The generations before, and by which keys each is checked.
pub(super) fn former_logs(config: &Config) -> Result<BTreeMap<u64, Former>> {
    let data = &config.data;
    let retired = generation::retired_keys(data)?;
    let seed = config.secrets.files()?.read_key(keys::LOG)?;
    let former = generation::former(data)?.into_iter().map(|(number, root)| {
        let origin = log_origin(&config.deployment, number);
        let mut keys = vec![note::SigningKey::new(&origin, &seed)?.verifying_key()?];
        keys.extend(retired.iter().filter(|key| key.name() == origin).cloned());
        Ok((number, Former { root, keys }))
    });
    former.collect()
}

/// The logs that questions are asked of.
pub(super) fn open_logs(config: &Config, opened: &Opened) -> Result<Logs> {
    let data = &config.data;
    let current = ExposureIndex::open(data, opened.view.clone(), Some(Arc::clone(&opened.vault)))
        .context("the exposure index cannot be opened")?;
    let indexes = data.join(INDEXES_DIR);
    let former = generation::former(data)?.into_iter().map(|(number, root)| {
        let origin = log_origin(&config.deployment, number);
        let indexes = indexes.join(format!("generation-{number}"));
        Beside::own(&origin, root, indexes, Arc::clone(&opened.vault))
    });
    let replicas = config.replicas.iter().map(|(origin, keys)| {
        let root = data.join(REPLICAS_DIR).join(origin);
        let indexes = indexes.join(origin.replace('/', "+"));
        Beside::of_node(origin, keys.clone(), root, indexes)
    });
    Ok(Logs {
        origin: log_origin(&config.deployment, generation::current(data)?),
        current: Arc::new(current),
        former: former.collect(),
        replicas: replicas.collect(),
    })
}

/// Opens the consents, and puts those in force before the data path.
pub(super) async fn keep_consents(
    data: &Path,
    book: Arc<ConsentBook>,
    keeper: &Arc<Keeper>,
    node: &Arc<Node>,
) -> Result<Kept> {
    let store =
        Consents::open(&data.join("consents.db")).await.context("cannot open consents.db")?;
    let verifier = Arc::clone(node);
    let revoke = move |token, until| verifier.verifier.revoke(token, until, clock::unix_now());
    let kept =
        Kept::open(store, book, Arc::clone(keeper), Arc::new(revoke), clock::unix_now()).await;
    kept.context("consents.db cannot be read")
}

pub(super) async fn open_outbox(data: &Path) -> Result<Outbox> {
    let folder = data.join("mail");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Outbox::open(&folder.join("outbox.db")).await.context("cannot open mail/outbox.db")
}

/// The secret files, and a word on how they are kept.
pub(super) fn open_secrets(config: &Config) -> Result<Arc<KeyFiles>> {
    let files = config.secrets.files()?;
    if !config.secrets.is_sealed() {
        warn!(
            "the files in keys/ are in the clear: `[secrets]` seals them, docs/operating/keys.md"
        );
    } else if files.sealing_is_due()? {
        warn!("sealing the files in keys/ was broken off: repeat `portcullis keys seal`");
    }
    Ok(files)
}

/// Asks the witnesses whether the directory is the newest there is of this log. Opening it writes and signs, so this comes first.
pub(super) async fn ask_witnesses(config: &Config) -> Result<Arc<Witnesses>> {
    let ledger = config.data.join("ledger");
    let witnesses = Witnesses::new(config.witnesses.clone(), log_key(config)?, &ledger);
    if config.witnesses.is_empty() {
        return Ok(witnesses);
    }
    // A checkpoint of nothing is the beginning of every log, so it may be signed before anything is known.
    let nothing =
        || Ok::<_, anyhow::Error>(checkpoint::sign(&TreeHead::EMPTY, &signing_key(config)?));
    let stored = std::fs::read_to_string(ledger.join("checkpoint")).ok();
    witnesses.ask_at_start(&stored.map_or_else(nothing, Ok)?).await?;
    Ok(witnesses)
}

pub(super) fn open_record(config: &Config) -> Result<Opened> {
    let mut opening = Opening::standard(signing_key(config)?, vault_keys(config)?);
    opening.next_key = next_signing_key(config)?;
    opening.ring = Arc::clone(config.secrets.files()?.ring());
    opening.lost_checkpoint = generation::lost_checkpoint(&config.data)?;
    let opened = recorder::open(&config.data, opening)?;
    if opened.recovered.torn {
        warn!(
            "the last write before the stop was cut short; it was acknowledged to nobody and is gone"
        );
    }
    Ok(opened)
}

/// Opens the register and makes it and the posture records of the log say the same.
pub(super) async fn open_posture(directory: &Path, opened: &Opened) -> Result<Arc<Keeper>> {
    let mut register = PostureRegister::open(directory)?;
    let followed = register.follow(&opened.posture)?;
    if followed.taken_over > 0 {
        warn!(
            entries = followed.taken_over,
            "the posture file lacked entries that the log has, and has them again: an older copy, or a write that failed"
        );
    }
    for entry in followed.to_record {
        opened.recorder.append(Draft::Posture { entry }).await?;
    }
    Ok(Keeper::start(register, opened.recorder.clone())?)
}
