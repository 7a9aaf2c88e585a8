//! The attacker's side alone, against a deployment somewhere else: what of a scenario it refuses, and what it answers.
//!
//! Nothing is known here of what that deployment recorded or signalled; its operators look there. Requests are few and slow on purpose.

use crate::client::{Endpoints, Vendor, trusting};
use crate::{commands, keys};
use anyhow::{Context, Result, bail, ensure};
use credential::{Algorithm, SigningKey};
use http::Uri;
use model::IntegrationId;
use rehearsal::attack::Probes;
use rehearsal::{Mode, Scenario};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::TlsConnector;

/// Requests of one scenario at most.
const REQUESTS_MAX: usize = 1_000;

/// Between two of them at least.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two of them at most: what a scenario spreads over days is asked within minutes.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A deployment that is not on this machine.
#[derive(clap::Args)]
pub(crate) struct Against {
    /// Play only the attacker, against a staging deployment such as `https://gateway.staging.example`
    #[arg(long, value_name = "URL", requires_all = ["staging", "token"])]
    against: Option<Uri>,
    /// The host of that URL once more: yes, it is staging, and asking it for a thousand records harms nobody
    #[arg(long, value_name = "HOST", requires = "against")]
    staging: Option<String>,
    /// File with the access token that was copied; read again for each request, so that it can be kept fresh
    #[arg(long, value_name = "FILE", requires = "against")]
    token: Option<PathBuf>,
    /// File with the tool's own private key, for `--mode inside`: PKCS#8 in PEM, or a private JWK
    #[arg(long, value_name = "FILE", requires = "against")]
    private_key: Option<PathBuf>,
    /// File with the CA of its certificate; those that this machine trusts, if it is left out
    #[arg(long, value_name = "FILE", requires = "against")]
    ca: Option<PathBuf>,
}

impl Against {
    /// Where to, if that is asked for.
    pub(crate) fn url(&self) -> Option<&Uri> {
        self.against.as_ref()
    }

    /// Asks what the attacker would ask, and says what came.
    ///
    /// # Errors
    /// If the host was not named twice, a file cannot be read, or the deployment cannot be reached.
    pub(crate) async fn play(
        &self,
        url: &Uri,
        scenario: &Scenario,
        mode: Mode,
        seed: u64,
    ) -> Result<Asked> {
        let host = url.host().context("`--against` takes https://HOST or https://HOST:PORT")?;
        ensure!(
            url.scheme_str() == Some("https") && matches!(url.path(), "" | "/"),
            "`--against` takes https://HOST or https://HOST:PORT"
        );
        ensure!(
            self.staging.as_deref() == Some(host),
            "`--staging {host}` says that {host} may be asked for up to {REQUESTS_MAX} records; it was not given"
        );
        if scenario.attacks().next().is_none() {
            bail!("{} has no attacker", scenario.id);
        }
        let endpoints = self.endpoints(url, host).await?;
        let key = match (mode, &self.private_key) {
            (Mode::Inside, Some(file)) => commands::private_key(file)?,
            (Mode::Inside, None) => bail!("inside mode takes the tool's own `--private-key`"),
            (Mode::Outside | Mode::Legacy, _) => {
                let secret = SigningKey::pkcs8(Algorithm::Es256, keys::random()?);
                SigningKey::from_pkcs8(&secret.context("ES256 signs proofs")?)?
            }
        };
        let file = self.token.as_ref().context("`--token` is a file")?;
        let nobody = IntegrationId::from_bytes([0; 16]);
        let from = Ipv4Addr::UNSPECIFIED.into();
        let mut vendor = Vendor::new(&endpoints, nobody, "", Arc::new(key), from);
        let mut asked = Asked { scenario: scenario.id.clone(), mode, ..Asked::new(host) };
        for attack in scenario.attacks() {
            let mut probes = Probes::new(attack, &scenario.subjects, 1, seed);
            asked.planned += probes.planned();
            let pause = Duration::try_from_secs_f64(1.0 / attack.rate()).unwrap_or(PAUSE_MAX);
            let pause = pause.clamp(PAUSE, PAUSE_MAX);
            while asked.made < REQUESTS_MAX {
                let Some(probe) = probes.next() else { break };
                let token = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read `{}`", file.display()))?;
                vendor.set_token(token.trim());
                let bearer =
                    mode == Mode::Legacy || mode == Mode::Outside && asked.made.is_multiple_of(2);
                let answer = if attack.anonymous {
                    vendor.get_anonymous(&probe.path).await?
                } else if bearer {
                    vendor.get_as_bearer(&probe.path).await?
                } else {
                    vendor.get(&probe.path).await?
                };
                asked.made += 1;
                let answered = answer.as_ref().is_some_and(|answer| answer.status == 200);
                let what = match &answer {
                    None => "no answer".to_owned(),
                    Some(answer) => {
                        let problem: Value =
                            serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                        let code =
                            problem.get("code").or(problem.get("type")).and_then(Value::as_str);
                        match code.filter(|_| !answered) {
                            Some(code) => format!("{} {code}", answer.status),
                            None => answer.status.to_string(),
                        }
                    }
                };
                *asked.answers.entry(what).or_default() += 1;
                if answered {
                    asked.data += 1;
                    asked.subjects.insert(probe.subject.clone().unwrap_or(probe.path.clone()));
                    asked.last_data = Some(asked.made);
                }
                probes.came_of_it(answered);
                tokio::time::sleep(pause).await;
            }
        }
        asked.took = asked.started.elapsed();
        asked.held = scenario
            .expect
            .get(&mode)
            .and_then(|expect| expect.subjects_max)
            .is_none_or(|max| asked.subjects.len() as u64 <= max);
        Ok(asked)
    }

    async fn endpoints(&self, url: &Uri, host: &str) -> Result<Endpoints> {
        let port = url.port_u16().unwrap_or(443);
        let mut found = tokio::net::lookup_host((host, port))
            .await
            .with_context(|| format!("no address of `{host}` is known"))?;
        // The attacker's socket is bound to an IPv4 address.
        let api = found.find(std::net::SocketAddr::is_ipv4).context("it has no IPv4 address")?;
        let tls = match &self.ca {
            Some(ca) => trusting(ca)?,
            None => {
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_protocol_versions(&[&rustls::version::TLS13])?
                    .with_platform_verifier()?
                    .with_no_client_auth();
                TlsConnector::from(Arc::new(config))
            }
        };
        let authority = url.authority().map_or(host, http::uri::Authority::as_str);
        Ok(Endpoints {
            api,
            api_url: format!("https://{authority}"),
            authority: api,
            issuer: String::new(),
            tls: Some(tls),
            server_name: host.to_owned(),
        })
    }
}

/// What a deployment answered.
pub(crate) struct Asked {
    host: String,
    scenario: String,
    mode: Mode,
    planned: u64,
    made: usize,
    data: u64,
    subjects: BTreeSet<String>,
    answers: BTreeMap<String, u64>,
    last_data: Option<usize>,
    started: Instant,
    took: Duration,
    /// Whether no more subjects were answered for than the scenario allows.
    pub(crate) held: bool,
}

impl Asked {
    fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            scenario: String::new(),
            mode: Mode::Outside,
            planned: 0,
            made: 0,
            data: 0,
            subjects: BTreeSet::new(),
            answers: BTreeMap::new(),
            last_data: None,
            started: Instant::now(),
            took: Duration::ZERO,
            held: false,
        }
    }

    /// `portcullis.rehearsal-against/1`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schema": "portcullis.rehearsal-against/1",
            "host": self.host,
            "scenario": self.scenario,
            "mode": self.mode.as_str(),
            "planned": self.planned,
            "made": self.made,
            "data": self.data,
            "subjects": self.subjects.len(),
            "last_data": self.last_data,
            "answers": self.answers,
            "wall_s": self.took.as_secs_f64(),
            "held": self.held,
        })
    }

    /// For a terminal.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} {} against {}: {} of {} requests made in {:.1} s",
            self.scenario,
            self.mode,
            self.host,
            self.made,
            self.planned,
            self.took.as_secs_f64()
        )];
        lines.extend(self.answers.iter().map(|(what, count)| format!("  {count:>6} x {what}")));
        lines.push(match self.last_data {
            None => "  no request was answered with data".to_owned(),
            Some(last) => format!(
                "  {} answered with data, about {} subjects; the last was request {last}",
                self.data,
                self.subjects.len()
            ),
        });
        let word = if self.held { "held  " } else { "BROKEN" };
        lines.push(format!("  {word} no more subjects than the scenario allows"));
        lines
    }
}
