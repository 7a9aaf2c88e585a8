//! P8 on one machine: an older copy of a part of the directory is told by the other parts, and no second history is signed.

use anyhow::{Context, Result, anyhow, bail, ensure};
use ledger::{Draft, TreeHead};
use model::{ClientIp, Refusal, UnixMicros, VendorId};
use sever::{Authority, Change, Target};
use simulation::clocks::ToldClocks;
use simulation::power_cuts::opening;
use simulation::torn_disk::TornDisk;
use std::sync::Arc;
use storage::embedded::PostureRegister;
use storage::embedded::disk::KeepSynced;
use storage::embedded::log::NotAdded;
use storage::embedded::posture::Followed;
use storage::embedded::recorder::{Parts, open_parts};
use storage::embedded::unavailable::OpenFailed;

const NOW: UnixMicros = UnixMicros(1_790_000_000_000_000);

fn open(disk: &TornDisk) -> Result<(Parts, Followed)> {
    let shared: Arc<dyn KeepSynced> = Arc::new(disk.clone());
    let parts = open_parts(&shared, Box::new(ToldClocks::at(NOW)), opening())?;
    let mut register = PostureRegister::open_on(shared, "posture", 1_024)?;
    let followed = register.follow(&parts.posture)?;
    Ok((parts, followed))
}

fn not_added(why: NotAdded) -> anyhow::Error {
    anyhow!("{why:?}")
}

/// A day's work: records, a cut, a checkpoint.
fn work(disk: &TornDisk, vendor: u8) -> Result<TreeHead> {
    let (mut parts, _) = open(disk)?;
    let mut register = PostureRegister::open_on(Arc::new(disk.clone()), "posture", 1_024)?;
    let change = Change::Sever(Target::Vendor(VendorId::from_bytes([vendor; 16])));
    let entry = register.next(change, "test", Authority::Rule("test".to_owned()), NOW)?;
    register.store()?;
    parts.log.begin()?;
    for second in 0..3 {
        let network = ClientIp::from_peer([192, 0, 2, vendor].into());
        let reason = Refusal::Unauthenticated;
        let draft = Draft::UnauthenticatedRefusals { network, reason, second, count: 1 };
        parts.log.add(&draft).map_err(not_added)?;
    }
    parts.log.add(&Draft::Posture { entry: entry.to_bytes() }).map_err(not_added)?;
    let tree = parts.log.add_heads().map_err(not_added)?;
    parts.log.commit()?;
    parts.publisher.publish(&tree)?;
    parts.publisher.sync_tiles()?;
    Ok(tree)
}

/// What opening says after the files that `which` names were put back from before the last day.
fn after(which: fn(&str) -> bool) -> Result<(TreeHead, Result<(Parts, Followed)>)> {
    let disk = TornDisk::new(1);
    work(&disk, 1)?;
    let older = disk.backup();
    let newest = work(&disk, 2)?;
    disk.restore(&older, which);
    Ok((newest, open(&disk)))
}

fn refused_by(which: fn(&str) -> bool) -> Result<&'static str> {
    let refused = after(which)?.1.map(|_| ()).err().context("it opens")?;
    let refused = refused.downcast()?;
    let OpenFailed::OlderCopy { file, known, segments } = refused else { bail!(refused) };
    ensure!(known > segments, "{known} and {segments}");
    Ok(file)
}

#[test]
fn older_segments_are_told_by_the_checkpoint_and_without_it_by_the_tiles() {
    assert_eq!(
        refused_by(|path| path.starts_with("ledger/segments")).unwrap(),
        "ledger/checkpoint"
    );
    let both = |path: &str| path.starts_with("ledger/segments") || path == "ledger/checkpoint";
    assert_eq!(refused_by(both).unwrap(), "ledger/tiles.durable");
}

#[test]
fn an_older_checkpoint_signs_nothing_that_the_newer_one_did_not() {
    let (newest, opened) = after(|path| path == "ledger/checkpoint").unwrap();
    let (parts, _) = opened.unwrap();
    assert!(parts.checkpoint.unwrap().tree.size < newest.size);
    // The log that goes on holds all that the newer checkpoint was over.
    let leaves = parts.log.view().records_from(0).map(|record| record.unwrap().1.leaf_hash());
    let mut tree = ledger::merkle::Frontier::default();
    leaves.take(usize::try_from(newest.size).unwrap()).for_each(|leaf| tree.push(leaf));
    assert_eq!(tree.root(), newest.root);
}

#[test]
fn an_older_register_has_from_the_log_what_was_cut_since() {
    let (_, opened) = after(|path| path.starts_with("posture")).unwrap();
    assert_eq!(opened.unwrap().1, Followed { taken_over: 1, to_record: Vec::new() });
}
