//! `portcullis demo`: an incident prevented, contained, cut off, measured, proved and answered, on loopback, in a minute.
//!
//! Everything is real: sockets, TLS, tokens, a ledger on disk, an origin in a process of its own. What the report says
//! it takes from what clients saw on their sockets and from what stands in files. [`stage`] sets the stage, [`acts`]
//! play, [`report`] judges.

pub(crate) mod acts;
mod answer;
pub(crate) mod origin;
pub(crate) mod people;
mod report;
mod stage;

use acts::Pace;
use anyhow::Result;
use report::{Report, Story};
use stage::Stage;
use std::process::ExitCode;
use std::time::Duration;

/// How the demo is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// End after the report: exit 0 only if every promise shown held
    #[arg(long)]
    exit: bool,
    /// Less traffic, under 15 seconds
    #[arg(long)]
    fast: bool,
    /// Break something on purpose, to see that the report notices
    #[arg(long, value_enum, hide = true)]
    sabotage: Option<Sabotage>,
}

/// What a test breaks to see that the report notices.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sabotage {
    /// One byte of the ledger changes after the fact.
    LedgerByte,
    /// One line of the origin's log goes missing.
    OriginLog,
    /// The contract classifies a field that no vendor was promised.
    WiderContract,
    /// One letter never reaches the mailbox.
    LostLetter,
}

/// Plays all acts and prints the report.
///
/// # Errors
/// If the stage cannot be set or an act cannot be played; a promise that is broken is no error but the report's to say.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let pace = if options.fast {
        Pace { honest: 40, abuse: Duration::from_secs(2), connections: 16 }
    } else {
        Pace { honest: 200, abuse: Duration::from_secs(12), connections: 64 }
    };
    let story = Story::begin();
    let mut stage = Stage::set(options.sabotage == Some(Sabotage::WiderContract)).await?;
    let mut report = Report::default();
    story.scene("The stage", &format!(
        "an account platform with 100,000 synthetic people ({}), three vendors with a grant each, two operators; data plane on {}",
        stage.loopback.origin_log.display(), stage.loopback.running.data_plane,
    ));

    let honest = acts::honest(&stage, pace).await?;
    report.honest(&story, &stage, &honest);
    let stolen = acts::stolen_token(&stage, pace).await?;
    report.stolen_token(&story, &stage, &stolen).await?;
    let abuse = acts::inside(&stage, pace).await?;
    report.inside(&story, &stage, &abuse);
    let mixed_up = acts::mixed_up(&mut stage, pace).await?;
    report.mixed_up(&story, &stage, &mixed_up);
    let cut = acts::sever(&stage, pace).await?;
    report.cut(&story, &stage, &cut).await?;
    match options.sabotage {
        Some(Sabotage::LedgerByte) => report::flip_a_ledger_byte(&stage)?,
        Some(Sabotage::OriginLog) => report::drop_a_line(&stage, &abuse)?,
        Some(Sabotage::WiderContract | Sabotage::LostLetter) | None => {}
    }
    report.proof(&story, &stage, &abuse).await?;
    // A ledger that was tampered with answers nothing, so there is nobody to write to.
    if options.sabotage != Some(Sabotage::LedgerByte) {
        let lose = options.sabotage == Some(Sabotage::LostLetter);
        let answer = answer::answer(&stage, &abuse, lose).await?;
        report.answer(&story, &stage, &abuse, &answer)?;
        let vetting = answer::vet_anew(&stage).await?;
        report.vetted_anew(&story, &stage, &vetting);
    }

    let held = report.print(&story);
    if !options.exit {
        story.wait(&stage).await?;
    }
    stage.loopback.running.stop().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
