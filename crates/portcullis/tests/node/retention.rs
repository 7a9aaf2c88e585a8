//! A node whose record is a hundred days old: what retention does not keep goes, in no file is it found again, and everybody who asks is told.

use crate::alone;
use crate::files::files;
use crate::origin::Origin;
use crate::process::{log, restart, start};
use crate::support::{Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use ledger::Draft;
use ledger::note::{SigningKey, VerifyingKey};
use ledger::record::Body;
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, IntegrationId, Micros, Outcome, RequestId,
    SubjectId, Touch, UnixMicros, VendorId,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::clock;
use storage::embedded::JournalSizes;
use storage::embedded::clocks::ReadClocks;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::log::prepare_segment;
use storage::embedded::recorder::{Opening, Parts, open_parts};
use storage::embedded::vault::VaultKeys;
use storage::embedded::view::LogView;
use tokio::runtime::Runtime;

const DAY: u64 = 86_400_000_000;
const SIZES: JournalSizes = JournalSizes { segment_bytes: 16 << 10, reserve_bytes: 2 << 10 };

/// A clock that is set, and goes with the other.
#[derive(Clone)]
struct Set {
    began: UnixMicros,
    since: Arc<AtomicU64>,
}

impl ReadClocks for Set {
    fn wall(&self) -> UnixMicros {
        self.began + self.monotonic()
    }

    fn monotonic(&self) -> Micros {
        Micros(self.since.load(Ordering::SeqCst))
    }
}

/// What operators did, which the registry knows, too.
pub(crate) fn commands(data: &Path) -> Result<Vec<Draft>> {
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(data)?);
    let mut commands = Vec::new();
    for record in LogView::at_rest(disk)?.records_from(0) {
        if let Body::OperatorAction { operator, action, detail } = record?.1.decode()?.body {
            commands.push(Draft::OperatorAction { operator, action, detail });
        }
    }
    Ok(commands)
}

/// Puts a log in the place of the node's, in which somebody was read every ten hours for the last `days` days. Returns who, when, and
/// under which pseudonym.
fn read_for(data: &Path, days: u64) -> Result<Vec<(String, UnixMicros, [u8; 16])>> {
    let commands = commands(data)?;
    for old in ["ledger", "index"] {
        fs::remove_dir_all(data.join(old))?;
    }
    let key = |name: &str| -> Result<[u8; 32]> {
        fs::read(data.join("keys").join(name))?.try_into().ok().context("a key of 32 bytes")
    };
    let public = fs::read_to_string(data.join("keys/log.pub"))?;
    let name = VerifyingKey::parse(public.trim())?.name().to_owned();
    let vault = VaultKeys {
        index: key("vault-index.key")?,
        wrapping: key("vault-wrapping.key")?,
        wrapping_id: 1,
    };
    let signing = SigningKey::new(&name, &key("log.key")?)?;
    let opening = Opening { sizes: SIZES, ..Opening::standard(signing, vault) };
    let disk: Arc<dyn KeepSynced> = Arc::new(LocalDisk::new(data)?);
    let began = UnixMicros(clock::unix_now().0 - days * DAY);
    let clocks = Set { began, since: Arc::default() };
    let Parts { mut log, mut publisher, vault, .. } =
        open_parts(&disk, Box::new(clocks.clone()), opening)?;
    let mut read = Vec::new();
    for nth in 0..days * 24 / 10 {
        clocks.since.fetch_add(DAY / 24 * 10, Ordering::SeqCst);
        let now = clocks.wall();
        if let Some(number) = log.wants_segment() {
            log.stock(prepare_segment(&*disk, SIZES, number)?);
        }
        let who = format!("q-{nth:04}");
        let subject = SubjectId::new(&who).context("a subject")?;
        let (_, pseudonym) = vault.row(&subject, now)?;
        let classes = [ClassNumber::new(0)].into_iter().collect();
        log.begin()?;
        let access = Draft::Access(AccessRecord {
            request: RequestId::from_bytes([1; 16]),
            vendor: VendorId::from_bytes([2; 16]),
            integration: IntegrationId::from_bytes([3; 16]),
            credential: CredentialId::from_bytes([4; 16]),
            grant: None,
            operation: None,
            network: ClientIp::from_peer([192, 0, 2, 1].into()),
            contract: [6; 32],
            policy: [7; 32],
            class_table: [8; 32],
            outcome: Outcome::Released,
            bytes: 1,
            touches: vec![Touch { pseudonym, classes }],
        });
        log.add(&access).ok().context("there is room")?;
        let heads = (nth % 20 == 19).then(|| log.add_heads());
        log.commit()?;
        if let Some(Ok(tree)) = heads {
            publisher.publish(&tree)?;
        }
        read.push((who, now, pseudonym.0));
    }
    clocks.since.store(days * DAY, Ordering::SeqCst);
    log.begin()?;
    for command in &commands {
        log.add(command).ok().context("there is room for what operators did")?;
    }
    log.commit()?;
    Ok(read)
}

/// Those of the pseudonyms that any file under `folder` holds.
fn found(folder: &Path, pseudonyms: &BTreeSet<[u8; 16]>) -> Result<BTreeSet<[u8; 16]>> {
    let mut all = BTreeSet::new();
    for (_, bytes) in files(folder)? {
        let windows = bytes.windows(16).filter_map(|window| window.first_chunk());
        all.extend(windows.filter(|window| pseudonyms.contains(*window)));
    }
    Ok(all)
}

#[test]
fn what_is_older_than_retention_goes_for_good_and_everybody_is_told() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    node.stop()?;
    let data = node.data();
    let read = read_for(&data, 100)?;
    let config = data.join("portcullis.toml");

    // Kept for ever, unless somebody says how long; and while a case is open.
    restart(&mut node)?;
    let all = node.operate(&["exposure", "--json"])?;
    ensure!(read.iter().all(|(who, ..)| all.contains(who)), "{all}");
    let open = ["incident", "open", "theft", "--title", "a theft", "--signal", "it polls"];
    node.operate(&open)?;
    node.stop()?;
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}\n[record]\nretention_days = 60\n"))?;
    restart(&mut node)?;
    wait(|| Ok(log(&node).contains("retention is held").then_some(())))?;
    let pseudonyms: BTreeSet<_> = read.iter().map(|(_, _, pseudonym)| *pseudonym).collect();
    ensure!(found(&data, &pseudonyms)? == pseudonyms, "it is held");
    let before = "2020-01-01T00:00:00Z";
    node.operate(&["incident", "scope", "theft", "--to", before])?;
    node.operate(&["incident", "close", "theft", "--reason", "nobody was read"])?;
    node.stop()?;
    restart(&mut node)?;
    wait(|| Ok(log(&node).contains("thinned by retention").then_some(())))
        .with_context(|| log(&node))?;

    // From when on it is whole; whoever was read before is in no file.
    let mut shown = portcullis();
    shown.args(["log", "retention", "--json", "--config"]).arg(&config);
    let shown: Value = serde_json::from_str(&said(&mut shown)?)?;
    let whole = shown["whole_from"].as_str().and_then(UnixMicros::parse);
    let whole = whole.with_context(|| shown.to_string())?;
    ensure!(shown["segments_thinned"].as_u64() > Some(0), "{shown}");
    let age = (clock::unix_now().0 - whole.0) / DAY;
    ensure!((60..80).contains(&age), "whole for {age} days");
    let (gone, kept): (Vec<_>, Vec<_>) = read.iter().partition(|(_, at, _)| *at < whole);
    ensure!(gone.len() > 30 && kept.len() > 100, "{} {}", gone.len(), kept.len());
    let stays: BTreeSet<_> = kept.iter().map(|(_, _, pseudonym)| *pseudonym).collect();
    ensure!(found(&data, &pseudonyms)? == stays, "others are found than are younger");

    // Who asks for more is told, and who asks for what is there is answered.
    let refused = format!("{:#}", node.operate(&["exposure"]).unwrap_err());
    ensure!(refused.contains("was thinned by retention"), "{refused}");
    let despite = node.operate(&["exposure", "--despite-gaps", "--json"])?;
    let from = (whole + Micros(1)).to_string();
    let since = node.operate(&["exposure", "--from", &from, "--json"])?;
    for (who, at, _) in &read {
        ensure!(despite.contains(who) == (*at >= whole), "{who} {despite}");
        ensure!(since.contains(who) == (*at > whole), "{who} {since}");
    }
    let refused = node.operate(&["exposure", "--scope", "all"]);
    ensure!(format!("{:#}", refused.unwrap_err()).contains("thinned by retention"));
    let bundle = data.with_extension("bundle");
    let path = bundle.to_string_lossy().into_owned();
    let refused = node.operate(&["evidence", "-o", &path]);
    ensure!(format!("{:#}", refused.unwrap_err()).contains("thinned by retention"));
    node.operate(&["evidence", "--from", &from, "-o", &path])?;
    let mut verify = portcullis();
    verify.arg("verify").arg(&bundle).arg("--key").arg(data.join("keys/log.pub"));
    ensure!(said(&mut verify)?.contains("and none missing"));

    // The log is the log that it was.
    node.stop()?;
    let mut verify = portcullis();
    verify.args(["verify", "--full"]).arg(&data).arg("--key").arg(data.join("keys/log.pub"));
    let audited = said(&mut verify)?;
    ensure!(audited.contains(&format!("{} of them", gone.len())), "{audited}");
    restart(&mut node)?;
    let again = node.operate(&["exposure", "--from", &from, "--json"])?;
    for (who, at, _) in &read {
        ensure!(again.contains(who) == (*at > whole), "after a start: {who} {again}");
    }
    Ok(())
}
