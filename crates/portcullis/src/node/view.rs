//! The registry and the contract, as the data path reads them.

use crate::config::Config;
use anyhow::{Context, Result};
use detection::{Window, WindowKind, Windows};
use disclosure::Contract;
use gateway::node::{FullScan, View};
use gateway::sever_listener::Roster;
use model::OperationId;
use policy::Policies;
use std::path::Path;
use std::sync::Arc;
use storage::registry::command::{Change, DeclaredWindow};
use storage::registry::{Registry, Snapshot};

/// Compiles the contract; classes it names for the first time get their numbers for good.
pub(super) async fn compile_contract(
    config: &Config,
    registry: &Registry,
) -> Result<(Arc<Contract>, Snapshot)> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let (openapi, overlay) = (read(&config.openapi)?, read(&config.overlay)?);
    let mut classes = registry.snapshot().await?.classes;
    let contract = Contract::compile(&openapi, &overlay, &mut classes).with_context(|| {
        format!(
            "the contract `{}` with `{}` does not compile",
            config.openapi.display(),
            config.overlay.display()
        )
    })?;
    registry.extend_classes(&classes).await?;
    Ok((Arc::new(contract), registry.snapshot().await?))
}

pub(super) fn view(contract: &Arc<Contract>, snapshot: Snapshot) -> Result<View> {
    let Snapshot { directory, classes, honey, windows, .. } = snapshot;
    let full_scans = windows.iter().filter_map(full_scan).collect();
    let windows = Windows::new(windows.into_iter().filter_map(window).collect());
    let facts: Vec<_> = contract.operations().map(disclosure::Operation::facts).collect();
    let policies = Policies::compile(&facts, &classes, &directory, "")
        .context("the policies do not compile")?;
    let class_table_hash = ledger::record::class_table_hash(&classes);
    Ok(View {
        directory,
        contract: Arc::clone(contract),
        policies,
        classes,
        class_table_hash,
        honey,
        full_scans,
        windows,
    })
}

/// A window in which an integration reads everybody.
pub(super) fn full_scan(window: &DeclaredWindow) -> Option<FullScan> {
    let Change::Backfill { operation, full_scan: true, .. } = &window.change else { return None };
    let operation = OperationId::new(operation)?;
    let &DeclaredWindow { integration, from, to, .. } = window;
    Some(FullScan { integration, operation, from, to })
}

/// A window as detectors read it. What is no window was not declared.
pub(super) fn window(declared: DeclaredWindow) -> Option<Window> {
    let DeclaredWindow { window, integration, change, from, to, reason: _ } = declared;
    let kind = match change {
        Change::Backfill { operation, subjects_max, full_scan: _ } => {
            WindowKind::Backfill { operation: OperationId::new(&operation)?, subjects_max }
        }
        Change::Address { network } => WindowKind::Address { network: network.parse().ok()? },
        Change::Endpoint { operation } => {
            WindowKind::Endpoint { operation: OperationId::new(&operation)? }
        }
    };
    Some(Window { id: window.to_string(), integration, kind, from, to })
}

pub(super) fn roster(snapshot: &Snapshot, contract: &Contract) -> Roster {
    Roster {
        operators: snapshot.operators.clone(),
        directory: snapshot.directory.clone(),
        operations: contract.operations().map(|operation| operation.id().clone()).collect(),
    }
}
