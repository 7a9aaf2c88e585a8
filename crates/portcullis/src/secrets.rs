//! `[secrets]`: where the key comes from that the node's secret files are sealed under, and the files as everything here reads them.
//!
//! The key is asked for once in the life of a process, and only by one that needs a secret.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use storage::secrets::{DIR, KeyFiles, Ring, SealingKey, private};
use zeroize::Zeroizing;

/// How long a command may take to give the key.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of a command's output. A key is 64 characters at most.
const OUTPUT_MAX: usize = 4_096;

/// `[secrets]`, and `[secrets.former]` without what follows.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretsFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_command: Option<Vec<String>>,
    /// The key that this one takes the place of, until `keys rewrap` is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<Box<SecretsFile>>,
}

/// Where a sealing key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Env(String),
    /// Program and arguments, run without a shell.
    Command(String, Vec<String>),
}

/// The secret files of a data directory, and what they are sealed under.
#[derive(Clone)]
pub(crate) struct Secrets {
    data: PathBuf,
    current: Option<Source>,
    former: Option<Source>,
    files: Arc<OnceLock<Arc<KeyFiles>>>,
}

impl SecretsFile {
    /// As `init` is told on the command line.
    pub(crate) fn new(
        key_file: Option<PathBuf>,
        key_env: Option<String>,
        key_command: Vec<String>,
    ) -> Option<Self> {
        let key_command = Some(key_command).filter(|command| !command.is_empty());
        let none = key_file.is_none() && key_env.is_none() && key_command.is_none();
        (!none).then_some(Self { key_file, key_env, key_command, former: None })
    }

    /// As it stands in `portcullis.toml`.
    ///
    /// # Errors
    /// If a path is not text.
    pub(crate) fn to_toml(&self) -> Result<String> {
        Ok(format!("\n[secrets]\n{}", toml::to_string(self)?))
    }

    fn source(&self, data: &Path) -> Result<Source> {
        match (&self.key_file, &self.key_env, &self.key_command) {
            (Some(file), None, None) => Ok(Source::File(data.join(file))),
            (None, Some(name), None) => Ok(Source::Env(name.clone())),
            (None, None, Some(command)) => {
                let (program, arguments) = command
                    .split_first()
                    .context("`key_command` is a program and its arguments")?;
                Ok(Source::Command(program.clone(), arguments.to_vec()))
            }
            _ => bail!("give one of `key_file`, `key_env` and `key_command`"),
        }
    }
}

impl Secrets {
    /// Of the data directory at `data`; without `[secrets]`, in the clear.
    ///
    /// # Errors
    /// If it does not say where a key comes from, or says it twice.
    pub(crate) fn new(data: &Path, file: Option<&SecretsFile>) -> Result<Self> {
        let former = file.and_then(|file| file.former.as_deref());
        if former.is_some_and(|former| former.former.is_some()) {
            bail!("there is one `former`");
        }
        Ok(Self {
            data: data.to_owned(),
            current: file.map(|file| file.source(data)).transpose()?,
            former: former.map(|file| file.source(data)).transpose()?,
            files: Arc::default(),
        })
    }

    /// Whether both take the key from the same place.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        (&self.current, &self.former) == (&other.current, &other.former)
    }

    /// Whether there is a key to seal under.
    pub(crate) fn is_sealed(&self) -> bool {
        self.current.is_some()
    }

    /// The files. The first call checks whose they are and gets the key.
    ///
    /// # Errors
    /// If others can read one, or the key cannot be had.
    pub(crate) fn files(&self) -> Result<Arc<KeyFiles>> {
        if let Some(files) = self.files.get() {
            return Ok(Arc::clone(files));
        }
        private::check_directory(&self.data)?;
        let key = |source: &Option<Source>, what: &str| {
            let key = source.as_ref().map(Source::key).transpose();
            key.with_context(|| format!("no key from `{what}` in portcullis.toml"))
        };
        let ring = Ring {
            current: key(&self.current, "[secrets]")?,
            former: key(&self.former, "[secrets.former]")?,
        };
        let files = KeyFiles::local(&self.data, ring).context("cannot open the data directory")?;
        Ok(Arc::clone(self.files.get_or_init(|| Arc::new(files))))
    }

    /// Reads a secret that the configuration names: one of the node's, or a file elsewhere, which is never sealed.
    ///
    /// # Errors
    /// If others can read it, or it does not open.
    pub(crate) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
        let below = path.strip_prefix(self.data.join(DIR)).ok().and_then(Path::to_str);
        let Some(name) = below else { return Ok(private::read(path)?) };
        // Its name may be one that public files have.
        private::read(path)?;
        Ok(self.files()?.read(name)?)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({:?})", self.current)
    }
}

impl Source {
    fn key(&self) -> Result<SealingKey> {
        let (text, from) = match self {
            Self::File(path) => (private::read(path)?, format!("`{}`", path.display())),
            Self::Env(name) => {
                let value = std::env::var(name).map(String::into_bytes).ok();
                let value = value.with_context(|| format!("`{name}` is not in the environment"))?;
                (Zeroizing::new(value), format!("`{name}`"))
            }
            Self::Command(program, arguments) => {
                (ask(program, arguments, PATIENCE)?, format!("`{program}`"))
            }
        };
        // Whatever it is, it is not shown.
        let key = parse(&text).with_context(|| {
            format!(
                "{from} is not a key: 32 random bytes, as they are, in hex or in base64, such as of `openssl rand -hex 32`"
            )
        })?;
        SealingKey::new(&key).context("no cipher takes this key")
    }
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if let Ok(raw) = <[u8; 32]>::try_from(text) {
        return Some(Zeroizing::new(raw));
    }
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let bytes = if text.len() == 64 {
        (0..32).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
    } else {
        BASE64.decode(text).ok()
    };
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes?);
    <[u8; 32]>::try_from(&**bytes).ok().map(Zeroizing::new)
}

/// Runs a command and gives its standard output, which is shown to nobody. What it says on standard error is shown if it fails.
fn ask(program: &str, arguments: &[String], patience: Duration) -> Result<Zeroizing<Vec<u8>>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that nobody whom it started outlives it with its output in hand.
    let mut child =
        command.process_group(0).spawn().with_context(|| format!("cannot run `{program}`"))?;
    let answered = answer(&mut child, patience);
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Fails if all of it has ended, which is what is wanted.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{program}`"))?;
    let (output, said) = match answered {
        Ok(answered) => answered,
        Err(_) => bail!("`{program}` gave no key within {patience:?}"),
    };
    if !status.success() {
        bail!("`{program}` ended with {status}: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(output)
}

type Answer = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Both outputs, when both have ended and so has the command.
fn answer(child: &mut Child, patience: Duration) -> Result<Answer> {
    let deadline = Instant::now() + patience;
    let output = drain(child.stdout.take());
    let said = drain(child.stderr.take());
    let rest = || deadline.saturating_duration_since(Instant::now());
    let output = output.recv_timeout(rest())?;
    let said = said.recv_timeout(rest())?;
    // It closed both, so it is about to end; the system has no wait with a limit.
    while child.try_wait()?.is_none() {
        if rest().is_zero() {
            bail!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((output, said))
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(OUTPUT_MAX));
        let read = pipe.map(|pipe| pipe.take(OUTPUT_MAX as u64).read_to_end(&mut bytes));
        // With nobody to take it, time was up.
        let _late = read.is_some_and(|read| read.is_ok()) && give.send(bytes).is_ok();
    });
    take
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Zeroizing<Vec<u8>>> {
        ask("sh", &["-c".to_owned(), script.to_owned()], Duration::from_secs(5))
    }

    #[test]
    fn a_key_is_32_bytes_in_one_of_three_forms() {
        let key = [0xa7; 32];
        let hex = "a7".repeat(32);
        for text in [&key[..], hex.as_bytes(), format!("{hex}\n").as_bytes()] {
            assert_eq!(*parse(text).unwrap(), key);
        }
        assert_eq!(*parse(BASE64.encode(key).as_bytes()).unwrap(), key);
        for wrong in [&b""[..], &key[1..], b"correct horse battery staple", &hex.as_bytes()[2..]] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_command_gives_the_key_or_says_why_not_and_never_what() {
        let hex = "a7".repeat(32);
        assert_eq!(**run(&format!("echo {hex}")).unwrap(), *format!("{hex}\n").as_bytes());
        let failed =
            format!("{:#}", run(&format!("echo {hex}; echo no token >&2; exit 3")).unwrap_err());
        assert!(failed.contains("no token") && !failed.contains("a7a7"), "{failed}");
        // More than is read: it may be anything, and is no key.
        assert!(run("head -c 100000 /dev/zero").is_err() || parse(&[0; 4_096]).is_none());
        let began = Instant::now();
        for hangs in ["sleep 60", "sleep 60 & echo no", "exec >&- 2>&-; sleep 60"] {
            let arguments = ["-c".to_owned(), hangs.to_owned()];
            let failed = ask("sh", &arguments, Duration::from_millis(100)).unwrap_err();
            assert!(failed.to_string().contains("within"), "{failed}");
        }
        assert!(began.elapsed() < Duration::from_secs(30), "none was waited for");
        assert!(ask("/nonexistent/program", &[], PATIENCE).is_err());
        let source = Source::Command("sh".into(), vec!["-c".into(), "echo s3cr3t".into()]);
        let failed = format!("{:#}", source.key().map(|_| ()).unwrap_err());
        assert!(failed.contains("is not a key") && !failed.contains("s3cr3t"), "{failed}");
    }

    #[test]
    fn exactly_one_source_is_named() {
        let read = |text: &str| {
            let file: SecretsFile = toml::from_str(text)?;
            Secrets::new(Path::new("."), Some(&file)).map(|_| ())
        };
        assert!(read("key_file = \"k\"").is_ok());
        assert!(read("key_env = \"K\"\n[former]\nkey_command = [\"k\", \"get\"]").is_ok());
        for wrong in [
            "",
            "key_file = \"k\"\nkey_env = \"K\"",
            "key_command = []",
            "key_command = \"k get\"",
            "key_env = \"K\"\n[former]\nkey_env = \"L\"\n[former.former]\nkey_env = \"M\"",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
