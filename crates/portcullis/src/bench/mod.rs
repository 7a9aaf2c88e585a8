//! `portcullis bench`: what the gateway costs, next to a peer that does less, measured in the same minutes on the same cores.
//!
//! [`gateway()`] compares processor time per request of nginx as a bare proxy, of our own bare hop, and of the whole path.
//! The generator and the static origin share one core, the measured process has another to itself, and the subjects take
//! turns, so that a noisy machine is as noisy for each. The ratios are the result; the figures depend on the machine.

mod connection;
mod cpu;
pub(crate) mod exposure;
pub(crate) mod hop;
mod load;
mod nginx;
mod process;
mod report;
mod static_origin;
mod whole;

use anyhow::{Context, Result, ensure};
use load::{Load, Requests};
use process::Process;
use report::{Report, Run};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use whole::{Client, Proof};

/// Options of `portcullis bench gateway`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds; in each, every subject has one run
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Requests of one run
    #[arg(long, default_value_t = 30_000)]
    requests: u64,
    /// Keep-alive connections, with one request outstanding on each
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Core of the load generator and the origin
    #[arg(long, default_value_t = 0)]
    load_core: usize,
    /// Core of the process that is measured
    #[arg(long, default_value_t = 1)]
    gateway_core: usize,
    /// Measure these beside nginx
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["hop", "whole"])]
    ours: Vec<Ours>,
    /// Print one JSON document per ratio
    #[arg(long)]
    json: bool,
}

/// What of ours is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ours {
    /// The codec and the origin pool alone
    Hop,
    /// DPoP ES256, decision, filter, durable record
    Whole,
    /// The same with DPoP Ed25519
    WholeEd25519,
    /// The same with RFC 9421 signatures, Ed25519
    WholeSigned,
}

impl Ours {
    /// How the integration proves itself, its folder, and the name in the report; `None` where there is no integration.
    const fn whole(self) -> Option<(Proof, &'static str, &'static str)> {
        match self {
            Self::Hop => None,
            Self::Whole => Some((Proof::DpopEs256, "dpop-es256", report::WHOLE)),
            Self::WholeEd25519 => Some((Proof::DpopEd25519, "dpop-ed25519", report::WHOLE_ED25519)),
            Self::WholeSigned => Some((Proof::SignedEd25519, "signed", report::WHOLE_SIGNED)),
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// If nginx is missing, a core cannot be had, a subject does not start, or any reply of any run was not the right one.
pub(crate) async fn gateway(options: Options) -> Result<()> {
    // A thread of its own, because it is bound to one core and the caller's runtime is not.
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(measure_pinned(&options)));
    result.await.context("the benchmark's thread ended early")?
}

fn measure_pinned(options: &Options) -> Result<()> {
    ensure!(
        options.load_core != options.gateway_core,
        "the generator would share the core that it measures"
    );
    ensure!(
        options.rounds > 0 && options.requests > 0 && options.connections > 0,
        "nothing to measure"
    );
    cpu::pin_this_thread(options.load_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    if options.json { report.print_json() } else { report.print_table() }
}

async fn measure(options: &Options) -> Result<Report> {
    let mut report = Report::new(nginx::version()?);
    let dir = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
    let origin = static_origin::start().await?;
    let mut subjects = start(options, dir.path(), origin).await?;
    for round in 1..=options.rounds {
        for subject in &mut subjects {
            let run = run(subject, options)
                .await
                .with_context(|| format!("{}, round {round}", subject.name()))?;
            eprintln!("round {round}/{}  {run}", options.rounds);
            report.add(run);
        }
    }
    Ok(report)
}

/// What is measured: who is asked, and what of it.
enum Subject {
    Nginx { process: Process, address: SocketAddr },
    Hop { process: Process, address: SocketAddr },
    Whole(&'static str, Box<Client>),
}

/// Starts nginx and what `options` name of ours, all on the core that is measured: who is idle costs the others nothing.
async fn start(options: &Options, dir: &Path, origin: SocketAddr) -> Result<Vec<Subject>> {
    let (process, address) = nginx::start(dir, origin, options.gateway_core)?;
    let mut subjects = vec![Subject::Nginx { process, address }];
    if options.ours.contains(&Ours::Hop) {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-hop").arg(origin.to_string());
        let (process, address) = Process::start_announcing(command, options.gateway_core)?;
        subjects.push(Subject::Hop { process, address });
    }
    for (proof, folder, name) in options.ours.iter().filter_map(|ours| ours.whole()) {
        let gateway =
            whole::start_gateway(&dir.join(folder), origin, options.gateway_core, proof).await?;
        subjects.push(Subject::Whole(name, Box::new(Client::new(gateway).await?)));
    }
    Ok(subjects)
}

/// One run: warm up, then measure, on the same connections.
async fn run(subject: &mut Subject, options: &Options) -> Result<Run> {
    let warm_up = options.requests / 10;
    let mut load = Load::open(subject.address(), options.connections).await?;
    let requests = subject.requests(warm_up).await?;
    load.run(warm_up, subject.length(), requests).await?;
    let requests = subject.requests(options.requests).await?;
    let before = cpu::time_on_processor(subject.pid())?;
    let seen = load.run(options.requests, subject.length(), requests).await?;
    let busy = cpu::time_on_processor(subject.pid())?.saturating_sub(before);
    ensure!(
        seen.wrong.is_empty(),
        "{} replies, of which these were not right, by status: {:?}",
        seen.requests,
        seen.wrong
    );
    Ok(Run { subject: subject.name(), busy, seen })
}

impl Subject {
    fn name(&self) -> &'static str {
        match self {
            Self::Nginx { .. } => report::NGINX,
            Self::Hop { .. } => report::HOP,
            Self::Whole(name, _) => name,
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Nginx { process, .. } | Self::Hop { process, .. } => process.pid(),
            Self::Whole(_, client) => client.pid(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Nginx { address, .. } | Self::Hop { address, .. } => *address,
            Self::Whole(_, client) => client.address(),
        }
    }

    /// Bytes of content that a right answer has.
    fn length(&self) -> usize {
        match self {
            Self::Nginx { .. } | Self::Hop { .. } => static_origin::ACCOUNT.len(),
            Self::Whole(_, client) => client.length,
        }
    }

    async fn requests(&mut self, count: u64) -> Result<Arc<Requests>> {
        match self {
            Self::Nginx { address, .. } | Self::Hop { address, .. } => {
                let request = format!(
                    "GET /v1/accounts/{} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\n\r\n",
                    static_origin::ACCOUNT_ID
                );
                Ok(Arc::new(move |_, out: &mut Vec<u8>| out.extend_from_slice(request.as_bytes())))
            }
            Self::Whole(_, client) => client.requests(count).await,
        }
    }
}
