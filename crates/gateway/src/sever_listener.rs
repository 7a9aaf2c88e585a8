//! The sever path: a Unix socket and a thread of its own, which need neither registry nor ledger nor runtime to cut.
//!
//! One line in, a signed command; one line out, what it came to. It takes tightening only: everything else belongs on
//! the operators' listener, where two signatures are counted against the registry.

use arc_swap::ArcSwap;
use model::{Directory, OperationId, Operator, OperatorId};
use serde_json::json;
use sever::{Authority, Change, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::{Changed, Keeper};
use storage::registry::{Command, SignedCommand};
use tracing::warn;

/// Longest line taken: the largest command in base64, and its signatures.
const LINE_BYTES_MAX: u64 = 512 * 1024;

/// How long a client may take to send its line.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the sever path knows without asking anybody: who may cut, and what slugs mean.
#[derive(Debug, Default)]
pub struct Roster {
    /// Operators and their keys.
    pub operators: BTreeMap<OperatorId, Operator>,
    /// Resolves slugs.
    pub directory: Directory,
    /// Those of the contract.
    pub operations: BTreeSet<OperationId>,
}

impl Roster {
    /// Whether there is such a thing, as far as is known here. It is cut in any case: what is registered next may be it.
    fn knows(&self, target: &Target) -> bool {
        match target {
            Target::Integration(id) => self.directory.integrations.contains_key(id),
            Target::Vendor(id) => self.directory.vendors.contains_key(id),
            Target::Credential(id) => self.directory.credentials.contains_key(id),
            Target::Grant(id) => self.directory.grants.contains_key(id),
            Target::Operation(id) => self.operations.contains(id),
            Target::Network(_) => true,
        }
    }
}

/// Listens at `path` until the process ends. `then` is told each command that was carried out, after it was.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(
    path: &Path,
    keeper: Arc<Keeper>,
    roster: Arc<ArcSwap<Roster>>,
    then: impl Fn(SignedCommand) + Send + Sync + 'static,
) -> io::Result<()> {
    // A socket left by a process that was killed; the data directory's lock says that no other process uses it.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let shared = Arc::new((keeper, roster, then));
    std::thread::Builder::new().name("sever".into()).spawn(move || {
        for stream in listener.incoming() {
            // Each client has a thread of its own, so that a slow one cannot hold up another's cut. Only the service's own
            // user can reach the socket.
            let shared = Arc::clone(&shared);
            let answering = move || {
                let (keeper, roster, then) = &*shared;
                if let Err(error) =
                    stream.and_then(|stream| answer(stream, keeper, &roster.load(), then))
                {
                    warn!(%error, "a sever client went away");
                }
            };
            if let Err(error) =
                std::thread::Builder::new().name("sever client".into()).spawn(answering)
            {
                warn!(%error, "no thread for a sever client");
            }
        }
    })?;
    Ok(())
}

fn answer(
    stream: UnixStream,
    keeper: &Keeper,
    roster: &Roster,
    then: &impl Fn(SignedCommand),
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new(&stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    // One write each: formatting into the socket would be one for each word of it.
    let tell = |answer: serde_json::Value| (&stream).write_all(format!("{answer}\n").as_bytes());
    match carry_out(&line, keeper, roster) {
        Ok((command, changed)) => {
            let mut receipt = changed.to_json();
            if let (Change::Sever(target), Some(members)) =
                (&changed.entry.change, receipt.as_object_mut())
            {
                members.insert("known".into(), roster.knows(target).into());
            }
            let told = tell(receipt);
            then(command);
            told
        }
        Err(reason) => tell(json!({ "error": reason })),
    }
}

fn carry_out(
    line: &[u8],
    keeper: &Keeper,
    roster: &Roster,
) -> Result<(SignedCommand, Changed), String> {
    let command = SignedCommand::from_json(line).map_err(|error| error.to_string())?;
    let head = keeper.switch().posture().head();
    let authorised = command
        .verify(&roster.operators, clock::unix_now(), &head)
        .map_err(|error| error.to_string())?;
    let Command::Sever { target, reason } = authorised.command() else {
        return Err(format!(
            "`{}` is not taken here: this listener only severs",
            authorised.command().action()
        ));
    };
    let target =
        target.resolve(&roster.directory).ok_or_else(|| format!("{target} is not registered"))?;
    let authority = Authority::Operators {
        signers: authorised.operators().iter().copied().collect(),
        command: line.to_vec(),
    };
    let changed = keeper.change(Change::Sever(target), reason, authority);
    Ok((command, changed.map_err(|error| error.to_string())?))
}
