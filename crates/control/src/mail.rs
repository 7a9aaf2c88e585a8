//! Outbound mail: carries the letters of an incident from the outbox to a mail server, or to a folder.
//!
//! A server is asked about sender and recipient first. Only then is the letter durably marked as handed over, and its content
//! written; `storage::outbox` says why. 2xx is accepted, 5xx refused and reported, 4xx tried again with growing pauses. A
//! server that cannot be used makes the couriers rest and costs no letter an attempt. One recipient to a message, always:
//! nobody learns who else got one.
//!
//! It decides neither who gets a letter nor what it says. Start reading at [`Mailer::run`], then `courier`.

mod courier;
pub mod dkim;
mod folder;
mod letter;
mod queue;
mod smtp;

pub use letter::{BadLetter, Composed, Content};
pub use smtp::Patience;

use crate::listen::told;
use courier::Courier;
use dkim::Signer;
use queue::Queue;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use smtp::{Broken, Connection, Handed};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::clock::unix_now;
use storage::outbox::{Letter, Outbox, OutboxError, Progress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use zeroize::Zeroizing;

/// How often progress is reported. Counting a million letters takes a tenth of it.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Where letters go.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A mail server that takes submissions.
    Smtp(Smtp),
    /// A folder in Maildir form.
    Folder(PathBuf),
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Its name, which its certificate must hold, or its address.
    pub host: String,
    /// 465 for [`Security::Tls`], 587 for [`Security::StartTls`], as a rule.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// Whom to log in as.
    pub login: Option<Login>,
}

/// User and password at a mail server. `Debug` does not print the password.
#[derive(Clone)]
pub struct Login {
    user: String,
    password: Zeroizing<String>,
}

impl Login {
    /// `file`: the content of the password's file, one line of text. `None` if it is something else.
    pub fn new(user: &str, file: &[u8]) -> Option<Self> {
        let line = str::from_utf8(file).ok()?.trim_end_matches(['\r', '\n']);
        if line.is_empty() || line.chars().any(char::is_control) {
            return None;
        }
        Some(Self { user: user.to_owned(), password: Zeroizing::new(line.to_owned()) })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, ..)", self.user)
    }
}

/// How a connection to a mail server is protected. TLS is 1.3, as everywhere else here.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS from the first byte.
    Tls(Trust),
    /// TLS after STARTTLS. A server that does not do it gets nothing.
    StartTls(Trust),
    /// None. Any other address than loopback is refused.
    ClearTextToLoopback,
}

/// Who vouches for a mail server's name.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever the operating system trusts.
    System,
    /// Only the certificates in this PEM file.
    Only(PathBuf),
}

/// How fast, how long and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections at a time.
    pub connections: usize,
    /// Before the second attempt at a letter, the third, and so on; after the last one it is given up.
    pub pauses: Vec<Duration>,
    /// How long the server may take.
    pub patience: Patience,
}

impl Default for Settings {
    //= RFC 5321 section 4.5.4.1: give up after four to five days at the earliest
    fn default() -> Self {
        let minutes = [1, 5, 15, 60, 120, 240, 480, 960, 1_440, 1_440, 1_440];
        Self {
            connections: 2,
            pauses: minutes.map(|minutes| Duration::from_secs(minutes * 60)).to_vec(),
            patience: Patience::default(),
        }
    }
}

/// Why a mailer cannot be made. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum MailConfigError {
    /// A file cannot be read, or the folder not be made.
    #[error("cannot use `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The PEM file is no use.
    #[error("`{0}` holds no certificate that can be trusted")]
    NoCertificate(PathBuf),
    /// The system's roots cannot be used.
    #[error("the system's certificates cannot be used")]
    Tls(#[from] rustls::Error),
}

/// Why a run ended early. What was not settled is carried by the next one.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The outbox failed; without it nothing may be sent.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A courier's task died: a bug, in it or in what composes letters.
    #[error("a courier died")]
    Died(#[from] tokio::task::JoinError),
}

/// What went wrong with a letter that was handed over at once.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotHandedOver(String);

/// Carries letters. Has read whatever its configuration names.
pub struct Mailer {
    transport: Transport,
    tls: Option<Arc<ClientConfig>>,
    signer: Option<Signer>,
    settings: Settings,
}

impl Mailer {
    /// Reads the certificates, and makes the folder. Connects to nothing.
    ///
    /// # Errors
    /// [`MailConfigError`].
    pub fn new(
        transport: Transport,
        signer: Option<Signer>,
        settings: Settings,
    ) -> Result<Self, MailConfigError> {
        let mut tls = None;
        match &transport {
            Transport::Smtp(server) => {
                tls = match &server.security {
                    Security::Tls(trust) | Security::StartTls(trust) => Some(tls_config(trust)?),
                    Security::ClearTextToLoopback => None,
                };
            }
            Transport::Folder(folder) => {
                folder::make(folder)
                    .map_err(|source| MailConfigError::File { path: folder.clone(), source })?;
            }
        }
        Ok(Self { transport, tls, signer, settings })
    }

    /// Carries every letter of `incident` until each is settled for good or in doubt, or `stop` turns true.
    ///
    /// `compose` writes one letter, with the same Message-ID at each attempt. `progress` is called about once a second. Ends
    /// early on `stop`: contents that are being written are finished, everything else waits for the next run. Not to be
    /// dropped instead: a letter would stay `sending` until [`Outbox::recover`]. One run of an incident at a time is enough;
    /// a second one sends nothing twice.
    ///
    /// # Errors
    /// [`MailError`]; letters that were being handed over stay `sending` then, for [`Outbox::recover`].
    pub async fn run<F>(
        self: &Arc<Self>,
        outbox: &Outbox,
        incident: &str,
        compose: F,
        progress: impl Fn(&Progress) + Send + Sync,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Progress, MailError>
    where
        F: Fn(&Letter) -> Result<Composed, BadLetter> + Send + Sync + 'static,
    {
        let (halt, halted) = watch::channel(false);
        let queue = Arc::new(Queue::new(outbox.clone(), incident));
        let compose = Arc::new(compose);
        let mut couriers = JoinSet::new();
        for _ in 0..self.settings.connections.max(1) {
            let courier = Courier::new(
                Arc::clone(self),
                Arc::clone(&queue),
                Arc::clone(&compose),
                halted.clone(),
            );
            couriers.spawn(courier.run());
        }
        let mut report = tokio::time::interval(REPORT_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = false;
        let mut failed: Option<MailError> = None;
        loop {
            let error = tokio::select! {
                ended = couriers.join_next() => match ended {
                    None => break,
                    Some(Ok(Ok(()))) => continue,
                    Some(Ok(Err(error))) => MailError::from(error),
                    Some(Err(died)) => died.into(),
                },
                _ = report.tick() => match outbox.progress(incident).await {
                    Ok(now) => {
                        progress(&now);
                        continue;
                    }
                    Err(error) => error.into(),
                },
                () = told(&mut stop), if !stopped => {
                    stopped = true;
                    halt.send_replace(true);
                    continue;
                }
            };
            failed.get_or_insert(error);
            halt.send_replace(true);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(outbox.progress(incident).await?),
        }
    }

    /// Hands one letter over at once, without an outbox: for what may come twice, with the same Message-ID, and must not wait.
    ///
    /// # Errors
    /// [`NotHandedOver`]; the server may have taken it all the same.
    pub async fn hand_over(&self, letter: Composed) -> Result<(), NotHandedOver> {
        let letter = self.signed(letter);
        if let Transport::Folder(folder) = &self.transport {
            let folder = folder.clone();
            let filed = tokio::task::spawn_blocking(move || folder::deliver(&folder, &letter));
            return match filed.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(NotHandedOver(error.to_string())),
                Err(error) => Err(NotHandedOver(error.to_string())),
            };
        }
        let handed = async {
            let mut connection = self.connect().await?;
            connection.mail(&letter).await?;
            let asked = connection.recipient(&letter).await?;
            if asked.code >= 300 {
                return Err(Broken::Answered(asked));
            }
            let asked = connection.data().await?;
            if asked.code != 354 {
                return Err(Broken::Answered(asked));
            }
            match connection.content_that_may_double(&letter).await {
                Handed::Answered(reply) if reply.code < 300 => {
                    connection.quit().await;
                    Ok(())
                }
                Handed::Answered(reply) => Err(Broken::Answered(reply)),
                Handed::NotTaken(broken) | Handed::Unknown(broken) => Err(broken),
            }
        };
        handed.await.map_err(|broken| NotHandedOver(broken.to_string()))
    }

    async fn connect(&self) -> Result<Connection, Broken> {
        let Transport::Smtp(server) = &self.transport else { return Err(Broken::Closed) };
        Connection::open(server, self.tls.clone(), self.settings.patience).await
    }

    fn signed(&self, mut letter: Composed) -> Composed {
        if let Some(signer) = &self.signer {
            letter.bytes = signer.sign(&letter.bytes, unix_now());
        }
        letter
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("transport", &self.transport).finish_non_exhaustive()
    }
}

fn tls_config(trust: &Trust) -> Result<Arc<ClientConfig>, MailConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match trust {
        Trust::System => builder.with_platform_verifier()?.with_no_client_auth(),
        Trust::Only(file) => builder.with_root_certificates(roots(file)?).with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, MailConfigError> {
    let pem = std::fs::read(file)
        .map_err(|source| MailConfigError::File { path: file.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    let no_certificate = || MailConfigError::NoCertificate(file.to_owned());
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| no_certificate())?).map_err(|_| no_certificate())?;
    }
    if roots.is_empty() { Err(no_certificate()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_and_is_not_printed() {
        let login = Login::new("me", b"se cret\r\n").unwrap();
        assert_eq!(*login.password, "se cret");
        assert_eq!(format!("{login:?}"), "Login(\"me\", ..)");
        for wrong in [&b""[..], b"a\0b", b"a\nb", b"\xff"] {
            assert!(Login::new("me", wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        assert!(matches!(tls_config(&Trust::Only(file)), Err(MailConfigError::NoCertificate(_))));
    }
}
