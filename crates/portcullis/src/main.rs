//! Portcullis: a zero-trust gateway and control plane for the third parties that read a company's user data.
//!
//! Each subcommand is a module; this file is their list.

mod bench;
mod client;
mod commands;
mod config;
mod console;
mod demo;
mod generation;
mod hear;
mod init;
mod intel;
mod issuer;
mod keys;
mod loopback;
mod metrics;
mod node;
mod onboarding;
mod operator;
mod people;
mod provider;
mod rehearse;
mod restored;
mod rotation;
mod secrets;
mod tls;
mod verify;
mod watching;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use sd_notify::NotifyState;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    version,
    about = "A zero-trust gateway for the third parties that read your users' data",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Watch an incident being prevented, contained, cut off, measured and proved, on loopback
    Demo(demo::Options),
    /// Play an incident against the real gateway, and see what it would have come to
    Rehearse(rehearse::Options),
    /// Make a data directory: configuration, keys, a local CA, the first operator
    Init {
        /// A directory that is empty or does not exist
        directory: PathBuf,
        /// First part of the log's name
        #[arg(long, default_value = "deployment")]
        deployment: String,
        /// Name of the first operator
        #[arg(long, default_value = "first")]
        operator: String,
        /// Address of the API to protect
        #[arg(long, default_value = "127.0.0.1:9000")]
        origin: SocketAddr,
        /// File with the key that secret files are sealed under
        #[arg(long, group = "sealing")]
        key_file: Option<PathBuf>,
        /// Environment variable with that key
        #[arg(long, group = "sealing", value_name = "NAME")]
        key_env: Option<String>,
        /// Command that prints that key: its program, then the option again for each argument
        #[arg(long, group = "sealing", value_name = "WORD", allow_hyphen_values = true)]
        key_command: Vec<String>,
    },
    /// Serve from a data directory
    Serve {
        /// The configuration file in it
        #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
        config: PathBuf,
    },
    #[command(flatten)]
    Operators(Box<commands::Operators>),
    /// Make one request as an integration would: token, proof and all
    Request(commands::Request),
    /// Check a log, a bundle, a proof or a receipt, with public keys only
    Verify(commands::Verify),
    /// A log's proofs, its next generation
    #[command(subcommand)]
    Log(commands::LogCommand),
    /// The node's keys: list, rotate, seal; and keys of auditors and witnesses
    #[command(subcommand)]
    Keys(commands::KeysCommand),
    /// Lists of threats: import, accept, list, and what is known about an address
    #[command(subcommand)]
    Intel(commands::IntelCommand),
    /// Measure ourselves beside a peer, on this machine
    #[command(subcommand)]
    Bench(Benches),
    /// The benchmark's bare hop, a process of its own
    #[command(hide = true)]
    BenchHop {
        /// The static origin
        origin: SocketAddr,
    },
    /// The demo's origin, a process of its own
    #[command(hide = true)]
    DemoOrigin {
        /// Where it logs its answers
        log: PathBuf,
    },
}

#[derive(Subcommand)]
enum Benches {
    /// CPU per request beside nginx: the bare hop, and the whole path with a durable record
    Gateway(bench::Options),
    /// Who was read, from an index of as many rows as you like; `bench/exposure` asks DuckDB and ClickHouse the same
    Exposure(bench::exposure::Options),
}

fn main() -> ExitCode {
    if let Err(reason) = leave_no_core() {
        say(&format!("portcullis: memory could be written to disk in a crash: {reason}"));
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(arguments.command)));
    match done {
        Ok(code) => code,
        Err(error) if error.is::<commands::NobodyReads>() => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("portcullis: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Subcommands) -> Result<ExitCode> {
    match command {
        Subcommands::Demo(options) => return demo::run(&options).await,
        Subcommands::Rehearse(options) => return rehearse::run(&options).await,
        Subcommands::Init {
            directory,
            deployment,
            operator,
            origin,
            key_file,
            key_env,
            key_command,
        } => {
            let listen =
                [8443, 8444, 8445, 8448, 9464].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let addresses = init::Addresses { listen, origin, clear_text: false };
            // As the configuration has it, relative to the directory.
            let key_file = key_file.map(std::path::absolute).transpose()?;
            let secrets = secrets::SecretsFile::new(key_file, key_env, key_command);
            init::init(&directory, &deployment, &operator, &addresses, secrets.as_ref()).await?;
            say(&format!(
                "made {}; put openapi.yaml and overlay.yaml there, then `portcullis serve`",
                directory.display()
            ));
        }
        Subcommands::Serve { config } => serve(&config).await?,
        Subcommands::Operators(command) => command.run().await?,
        Subcommands::Request(request) => request.run().await?,
        Subcommands::Verify(options) => options.run()?,
        Subcommands::Log(command) => command.run()?,
        Subcommands::Keys(command) => command.run()?,
        Subcommands::Intel(command) => command.run()?,
        Subcommands::Bench(Benches::Gateway(options)) => bench::gateway(options).await?,
        Subcommands::Bench(Benches::Exposure(options)) => bench::exposure::run(&options)?,
        Subcommands::BenchHop { origin } => bench::hop::run(origin).await?,
        Subcommands::DemoOrigin { log } => demo::origin::run(&log).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(path: &std::path::Path) -> Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let mut running = node::start(&config::Config::read(path)?).await?;
    let (mut terminate, mut hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let node::Running { data_plane, authority, control, .. } = &running;
    // After the signals are handled: who reads this may stop the node.
    tracing::info!(%data_plane, %authority, %control, "serving");
    tell_systemd(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            interrupted = tokio::signal::ctrl_c() => break interrupted?,
            _ = hang_up.recv() => {
                if let Err(reason) = running.reload(path).await {
                    tracing::error!("not reloaded, and served as before: {reason:#}");
                }
            }
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    tracing::info!("finishing what is under way");
    running.stop().await
}

/// What is in memory is not written to disk when the process crashes, and no other process of this user reads it. The limit is what
/// people look for; a core that is piped to a program is kept back by the other.
fn leave_no_core() -> std::io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Without systemd there is nobody to tell.
fn tell_systemd(state: &[NotifyState<'_>]) {
    let _nobody = sd_notify::notify(state);
}

/// Data goes to standard output, everything else to standard error.
fn say(line: &str) {
    use std::io::Write;
    // With nobody to read it there is nothing to be done about it.
    let _ = writeln!(std::io::stderr(), "{line}");
}
