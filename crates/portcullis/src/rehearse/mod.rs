//! `portcullis rehearse`: incidents played against the real gateway, over real sockets, and what came of them.
//!
//! [`stage`] sets up a deployment on loopback, [`mod@play`] makes the requests of attacker and honest software in the order of the
//! scenario's time, which [`pace`] sets the clocks forward to; [`answer`] asks the record and holds it against the truth. What a scenario
//! is, and what is expected of it, stands in its file and in the crate `rehearsal`.

mod against;
mod answer;
mod pace;
mod play;
mod software;
mod stage;

use against::Against;
use anyhow::{Context, Result, bail};
use pace::{Pace, Speed};
use play::Run;
use rehearsal::picture::Picture;
use rehearsal::scenario::BUILT_IN;
use rehearsal::{Mode, Scenario, Scoreboard};
use stage::Stage;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// How a rehearsal is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A built-in scenario such as `R02`, a file, or `all`
    scenario: String,
    /// What the attacker has: `outside` a copied token, `legacy` the same where tokens need no proof, `inside` the tool itself; every mode the
    /// scenario expects something of, if it is left out
    #[arg(long, value_enum)]
    mode: Option<ModeArgument>,
    /// Seconds of the scenario in each second, or `max`
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Replays the traffic of a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Scoreboards as JSON, one a line
    #[arg(long)]
    json: bool,
    /// A folder for one picture a run
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    against: Against,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ModeArgument {
    Outside,
    Legacy,
    Inside,
}

impl From<ModeArgument> for Mode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Outside => Self::Outside,
            ModeArgument::Legacy => Self::Legacy,
            ModeArgument::Inside => Self::Inside,
        }
    }
}

/// Plays what was asked for; success only if everything that was expected held.
///
/// # Errors
/// If a scenario cannot be read or played.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let scenarios = read(&options.scenario)?;
    let only = options.mode.map(Mode::from);
    let mut runs = Vec::new();
    for scenario in &scenarios {
        let modes = Mode::ALL.into_iter().filter(|mode| only.is_none_or(|only| only == *mode));
        runs.extend(
            modes.filter(|mode| scenario.expect.contains_key(mode)).map(|mode| (scenario, mode)),
        );
    }
    if runs.is_empty() {
        bail!("`{}` expects nothing in that mode", options.scenario);
    }
    if let Some(folder) = options.svg.as_deref().filter(|folder| !folder.is_dir()) {
        bail!("`{}`, where pictures are to go, is no folder", folder.display());
    }
    let mut broken = Vec::new();
    for (at, (scenario, mode)) in runs.iter().enumerate() {
        progress(&format!("{}/{} {} {mode} ...", at + 1, runs.len(), scenario.id));
        if let Some(url) = options.against.url() {
            let asked = options.against.play(url, scenario, *mode, options.seed).await?;
            let lines =
                if options.json { vec![asked.to_json().to_string()] } else { asked.lines() };
            print(&lines)?;
            if !asked.held {
                broken.push(format!("{} {mode}", scenario.id));
            }
            continue;
        }
        let (board, picture) = play(scenario, *mode, options)
            .await
            .with_context(|| format!("{} {mode} cannot be played", scenario.id))?;
        show(&board, &picture, options)?;
        if !board.held() {
            broken.push(format!("{} {mode}", scenario.id));
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    progress(&format!("not as expected: {}", broken.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn read(name: &str) -> Result<Vec<Scenario>> {
    if name == "all" {
        let parse =
            |(id, text): &(&str, &str)| Scenario::parse(text).with_context(|| (*id).to_owned());
        return BUILT_IN.iter().map(parse).collect();
    }
    if let Some((_, text)) = BUILT_IN.iter().find(|(id, _)| id.eq_ignore_ascii_case(name)) {
        return Ok(vec![Scenario::parse(text)?]);
    }
    let text = match std::fs::read_to_string(name) {
        Ok(text) => text,
        Err(error) => {
            let known: Vec<_> = BUILT_IN.iter().map(|(id, _)| *id).collect();
            bail!("`{name}` is none of {}, and no file: {error}", known.join(", "));
        }
    };
    Ok(vec![Scenario::parse(&text).with_context(|| format!("in `{name}`"))?])
}

/// One run, from nothing.
async fn play(scenario: &Scenario, mode: Mode, options: &Options) -> Result<(Scoreboard, Picture)> {
    let started = Instant::now();
    pace::begin();
    let stage = Stage::set(scenario, mode, options.seed).await?;
    let pace = Pace { speed: options.speed, node: Arc::clone(&stage.loopback.running.node) };
    let mut run = Run::new(scenario, mode, options.seed, stage, pace)?;
    run.play().await?;
    let answered = answer::answer(&run).await?;
    let board = answered.scoreboard(&run, options.seed, started.elapsed());
    let seen = &run.seen;
    let before = scenario.honest.before.secs();
    let last = seen.marks.last().map_or(0.0, |(_, at)| seen.seconds(*at));
    let mut picture = Picture::new(before, last);
    for (mark, at) in &seen.marks {
        picture.mark(*mark, seen.seconds(*at));
    }
    run.stage.loopback.running.stop().await?;
    Ok((board, picture))
}

/// Data on standard output: the scoreboard and its picture, or one line of JSON.
fn show(board: &Scoreboard, picture: &Picture, options: &Options) -> Result<()> {
    if options.json {
        print(&[board.to_json().to_string()])?;
    } else {
        print(&board.lines())?;
        print(&picture.lines())?;
    }
    if let Some(folder) = &options.svg {
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}-{}.svg", board.scenario, board.mode));
        write_svg(&file, &picture.svg(board))?;
        progress(&format!("{}", file.display()));
    }
    Ok(())
}

fn print(lines: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn write_svg(file: &Path, svg: &str) -> Result<()> {
    std::fs::write(file, svg).with_context(|| format!("cannot write `{}`", file.display()))
}

/// One line on standard error.
fn progress(line: &str) {
    // With nobody to read it the rehearsal goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}
