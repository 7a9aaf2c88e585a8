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
mod tls;
mod whole;

use anyhow::{Context, Result, ensure};
use connection::Target;
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
    /// Speak TLS 1.3 with whoever is measured; the origin stays in clear text
    #[arg(long)]
    tls: bool,
    /// Measure these beside nginx [default: hop,whole; with --tls every kind of proof]
    #[arg(long, value_enum, value_delimiter = ',')]
    ours: Vec<Ours>,
    /// Print one JSON document per ratio
    #[arg(long)]
    json: bool,
}

/// What of ours is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ours {
    /// The codec and the origin pool alone, in clear text
    Hop,
    /// DPoP ES256, decision, filter, durable record
    Whole,
    /// The same with DPoP Ed25519
    WholeEd25519,
    /// The same with RFC 9421 signatures, Ed25519
    WholeSigned,
    /// The same with a client certificate on the connection, over TLS
    WholeMtls,
}

impl Ours {
    /// How the integration proves itself, its folder, and the name in the report; `None` where there is no integration.
    const fn whole(self) -> Option<(Proof, &'static str, &'static str)> {
        match self {
            Self::Hop => None,
            Self::Whole => Some((Proof::DpopEs256, "dpop-es256", report::WHOLE)),
            Self::WholeEd25519 => Some((Proof::DpopEd25519, "dpop-ed25519", report::WHOLE_ED25519)),
            Self::WholeSigned => Some((Proof::SignedEd25519, "signed", report::WHOLE_SIGNED)),
            Self::WholeMtls => Some((Proof::Certificate, "mtls", report::WHOLE_MTLS)),
        }
    }
}

impl Options {
    /// What of ours is measured, as asked or by default.
    fn ours(&self) -> &[Ours] {
        match (&*self.ours, self.tls) {
            ([], false) => &[Ours::Hop, Ours::Whole],
            ([], true) => &[Ours::WholeMtls, Ours::WholeEd25519, Ours::Whole, Ours::WholeSigned],
            (asked, _) => asked,
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
    let other = if options.tls { Ours::Hop } else { Ours::WholeMtls };
    ensure!(
        !options.ours().contains(&other),
        "the hop speaks clear text, and a client certificate needs --tls"
    );
    cpu::pin_this_thread(options.load_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    if options.json { report.print_json() } else { report.print_table() }
}

async fn measure(options: &Options) -> Result<Report> {
    let mut report = Report::new(nginx::version()?, options.tls);
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
    Nginx { process: Process, target: Target },
    Hop { process: Process, target: Target },
    Whole(&'static str, Box<Client>),
}

/// Starts nginx and what `options` name of ours, all on the core that is measured: who is idle costs the others nothing.
async fn start(options: &Options, dir: &Path, origin: SocketAddr) -> Result<Vec<Subject>> {
    let (process, target) = nginx::start(dir, origin, options.gateway_core, options.tls)?;
    let mut subjects = vec![Subject::Nginx { process, target }];
    if options.ours().contains(&Ours::Hop) {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-hop").arg(origin.to_string());
        let (process, address) = Process::start_announcing(command, options.gateway_core)?;
        subjects.push(Subject::Hop { process, target: Target { address, tls: None } });
    }
    for (proof, folder, name) in options.ours().iter().filter_map(|ours| ours.whole()) {
        let place = whole::Place { dir: &dir.join(folder), origin, core: options.gateway_core };
        let gateway = whole::start_gateway(&place, proof, options.tls).await?;
        subjects.push(Subject::Whole(name, Box::new(Client::new(gateway).await?)));
    }
    Ok(subjects)
}

/// One run: warm up, then measure, on the same connections.
async fn run(subject: &mut Subject, options: &Options) -> Result<Run> {
    let warm_up = options.requests / 10;
    let mut load = Load::open(subject.target(), options.connections).await?;
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

    fn target(&self) -> &Target {
        match self {
            Self::Nginx { target, .. } | Self::Hop { target, .. } => target,
            Self::Whole(_, client) => client.target(),
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
            Self::Nginx { target, .. } | Self::Hop { target, .. } => {
                let request = format!(
                    "GET /v1/accounts/{} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\r\n",
                    static_origin::ACCOUNT_ID,
                    target.address
                );
                Ok(Arc::new(move |_, out: &mut Vec<u8>| out.extend_from_slice(request.as_bytes())))
            }
            Self::Whole(_, client) => client.requests(count).await,
        }
    }
}
