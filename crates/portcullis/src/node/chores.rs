//! What a node does by the clock. Each chore ends with the node.

use control::consents::Kept;
use control::desk::Desk;
use gateway::node::Node;
use std::sync::Weak;
use std::time::Duration;
use storage::clock;
use storage::embedded::{Logs, Recorder};
use tokio::sync::watch;
use tracing::{error, warn};

/// Keeps the exposure indexes close behind the logs, so that nobody who asks waits for them. Ends with the node.
pub(super) async fn index_along(logs: Weak<Logs>) {
    let mut said = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(logs) = logs.upgrade() else { return };
        let caught_up = tokio::task::spawn_blocking(move || logs.catch_up()).await;
        let failed = match caught_up {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{:#}", anyhow::Error::from(error))),
            Err(broken) => Some(broken.to_string()),
        };
        if let Some(why) = failed.as_ref().filter(|_| said != failed) {
            warn!("the exposure index does not grow: {why}");
        }
        said = failed;
    }
}

/// Deletes consents that nobody used for ninety days. Ends with the node.
pub(super) async fn forget_consents_hourly(
    consents: Kept,
    recorder: Recorder,
    mut stop: watch::Receiver<bool>,
) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        tokio::select! {
            _ = hourly.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // By the record's time, which no step of the clock moves before an operator has seen it.
        let Ok(now) = recorder.now() else { continue };
        if let Err(error) = consents.forget(now).await {
            warn!(%error, "unused consents are not deleted");
        }
    }
}

/// Runs the checks of vetting once an hour: documents run out and keys grow old without anybody doing anything.
pub(super) async fn recheck_hourly(desk: Weak<Desk>) {
    let mut every = tokio::time::interval(Duration::from_secs(3_600));
    // The first tick comes at once, and the start has checked already.
    every.tick().await;
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.recheck().await {
            error!(%reason, "the checks of vetting could not be run");
        }
    }
}

/// Says at start, and then once a day, whose tokens are taken without proof. Ends with the node.
pub(super) async fn warn_of_bearer_daily(node: Weak<Node>) {
    let mut daily = tokio::time::interval(Duration::from_secs(86_400));
    loop {
        daily.tick().await;
        let Some(node) = node.upgrade() else { return };
        let (view, now) = (node.view(), clock::unix_now());
        for (id, exception) in &view.directory.bearer {
            if view.directory.bears(id, now) {
                let slug = view.directory.integrations.get(id).map(|of| &of.slug);
                let (owner, until) = (&exception.owner, exception.until);
                warn!(integration = slug, owner, %until, "its tokens are taken without proof");
            }
        }
    }
}

/// Carries out the erasures that are due, at start and then once a minute.
pub(super) async fn erase_when_due(desk: Weak<Desk>) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.erase_due().await {
            error!(%reason, "subjects who are to be erased could not be, and it is tried again");
        }
    }
}

/// Thins what retention does not keep, at start and then once an hour.
pub(super) async fn retain_hourly(desk: Weak<Desk>, days: u32) {
    let mut every = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.retain(days).await {
            error!(%reason, "records that are too old could not be thinned, and it is tried again");
        }
    }
}
