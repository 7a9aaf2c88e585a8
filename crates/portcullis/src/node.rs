//! Puts one node together from its data directory and starts its listeners. Reads as the deployment diagram.

use crate::config::{Config, MailTls, MailWay, PortalConfig};
use crate::console::Shown;
use crate::generation;
use crate::hear::hear;
use crate::intel::Intel;
use crate::issuer::IssuerConfig;
use crate::keys;
use crate::metrics::{self, Measured};
use crate::people;
use crate::restored::Expected;
use crate::rotation::{self, Rotation};
use crate::tls;
use crate::watching::{self, Replay};
use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use authority::TokenEndpoint;
use authority::flows::Flows;
use control::cases::{self, Office};
use control::connect::Connect;
use control::consents::Kept;
use control::console::{self, sessions::Sessions};
use control::desk::{self, Desk, Publish};
use control::issuer::IssuerClient;
use control::log_listener::{self, LogFiles};
use control::mail;
use control::mail::dkim::Signer;
use control::operators::{self, Operators};
use control::pages::{self, Pager};
use control::portal::passkeys::Passkeys;
use control::portal::{self, Portal};
use control::questions::{Archive, Former};
use control::register::{self, Registration};
use control::tokens::{self, Registered};
use control::witness::Witnesses;
use credential::Verifier;
use detection::{Window, WindowKind, Windows, habits};
use disclosure::Contract;
use gateway::listener::{self, Transport};
use gateway::node::{AskIssuer, FullScan, Node, Parts, View};
use gateway::origin::{Origin, OriginConfig};
use gateway::sever_listener::{self, Roster};
use gateway::watch::Watch;
use ledger::Draft;
use ledger::note::{self, VerifyingKey};
use ledger::record::Body;
use ledger::{TreeHead, checkpoint};
use model::{OperationId, UnixMicros};
use policy::{ConsentBook, Policies};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::clock;
use storage::consents::Consents;
use storage::embedded::disk::LocalDisk;
use storage::embedded::logs::{INDEXES_DIR, REPLICAS_DIR};
use storage::embedded::recorder::{self, Opened, Opening};
use storage::embedded::vault::{self, VaultKeys};
use storage::embedded::view::LogView;
use storage::embedded::{Beside, ExposureIndex, Keeper, Logs, PostureRegister, Recorder, Vault};
use storage::outbox::Outbox;
use storage::registry::command::{Change, DeclaredWindow};
use storage::registry::{Registry, Snapshot};
use storage::secrets::{InUse, KeyFiles, TokenKeys, private};
use storage::signals::Signals;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};
use vetting::osv::Advisories;

/// Most bytes of a request's content and of an origin's reply.
const BODY_MAX: u64 = 4 * 1024 * 1024;

/// How long mail servers may take to answer for what is being handed over when the node stops.
const LETTERS: Duration = Duration::from_secs(10);

/// A node that serves.
pub(crate) struct Running {
    pub(crate) data_plane: SocketAddr,
    pub(crate) authority: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) node: Arc<Node>,
    recorder: Recorder,
    reload: Reload,
    stop: watch::Sender<bool>,
    /// Ends when the requests under way at a stop are answered.
    serving: JoinHandle<()>,
}

/// Name of the node's log: deployment, node, generation.
pub(crate) fn log_origin(deployment: &str, generation: u64) -> String {
    format!("{deployment}/node-1/{generation}")
}

/// The public key of a data directory's log.
///
/// # Errors
/// If the key file cannot be read.
pub(crate) fn log_key(config: &Config) -> Result<VerifyingKey> {
    signing_key(config)?.verifying_key().context("the log's key")
}

pub(crate) fn signing_key(config: &Config) -> Result<note::SigningKey> {
    note_key(config, &*config.secrets.files()?.read_key(keys::LOG)?)
}

/// The key that is to follow, while it is being rotated.
///
/// # Errors
/// If its file is there and cannot be read.
pub(crate) fn next_signing_key(config: &Config) -> Result<Option<note::SigningKey>> {
    let files = config.secrets.files()?;
    let next = files.read_key_if_there(keys::NEXT_LOG)?;
    // If it is the log's key already, the rotation ended and a crash came before its file was gone.
    let signs = files.read_key::<32>(keys::LOG)?;
    next.filter(|next| **next != *signs).map(|next| note_key(config, &next)).transpose()
}

pub(crate) fn note_key(config: &Config, seed: &[u8; 32]) -> Result<note::SigningKey> {
    let origin = log_origin(&config.deployment, generation::current(&config.data)?);
    note::SigningKey::new(&origin, seed).context("`deployment` cannot stand in a log's name")
}

/// What a reload replaces while requests are served.
struct Reload {
    config: Config,
    node: Arc<Node>,
    intel: Arc<Intel>,
    registry: Registry,
    desk: Arc<Desk>,
    office: Arc<Office>,
    pager: Arc<Pager>,
    rotation: Arc<Rotation>,
    contract: Arc<ArcSwap<Contract>>,
    tls: tls::Current,
}

/// Opens the data directory and serves from it.
///
/// # Errors
/// The operator's: what cannot be read, opened or listened on, and what to do about it.
pub(crate) async fn start(config: &Config) -> Result<Running> {
    let data = &config.data;
    let secrets = open_secrets(config)?;
    let witnesses = ask_witnesses(config).await?;
    let opened = open_record(config)?;
    let registry =
        Registry::open(&data.join("registry.db")).await.context("cannot open registry.db")?;
    let keeper = open_posture(&data.join("posture"), &opened).await?;
    let (contract, snapshot) = compile_contract(config, &registry).await?;
    let contract = Arc::new(ArcSwap::new(contract));

    let control = listen(config.control).await?;
    let authority = listen(config.authority).await?;
    let data_plane = listen(config.data_plane).await?;
    let issuer = issuer(config, &authority)?;
    let external_url = external_url(config, &data_plane)?;
    let token_keys = TokenKeys::open(Arc::clone(&secrets), clock::unix_now())?;
    let InUse { signing, published } = token_keys.in_use();
    let endpoint =
        TokenEndpoint::new(&issuer, &external_url, Arc::clone(&signing), keys::random()?)
            .context("the authority's address cannot be an issuer")?
            .beginning(clock::unix_now());
    endpoint.replace_keys(signing, published);
    let endpoint = Arc::new(endpoint);

    let consents = Arc::new(ConsentBook::default());
    let material = tls::Material::read(config)?;
    let intel = Intel::open(data, &config.intel, &config.secrets).await?;
    let watch = Watch::new(Arc::clone(&keeper));
    watch.shadow(config.detection.shadow.clone());
    if let Some(path) = &config.detection.relationships {
        // As many again may be told before the next start.
        watch.make_room(watching::count(path)?.saturating_mul(2));
        watching::import(&watch, path, &snapshot.directory, clock::unix_now())?;
    }
    let shown = view(&contract.load_full(), snapshot.clone())?;
    let expected = {
        let mut told = Replay::new(&watch, &opened.vault, &shown);
        replay_former(data, &opened.vault, &mut told);
        replay(&opened.view, &opened.vault, &mut told)?
    };
    expected.check(&opened.vault, &registry).await?;
    let verifier = Verifier::new(
        &issuer,
        &external_url,
        endpoint.issuer_keys(),
        keys::random()?,
        Verifier::PROOFS_MAX,
    );
    let (verifier, ask_issuer) = match &config.issuer {
        None => (verifier, None),
        Some(foreign) => {
            let (foreign, client) = foreign.open(&config.secrets, &issuer, &external_url)?;
            (verifier.and_of(foreign), Some(asking(client)))
        }
    };
    let issuers =
        [issuer.as_str()].into_iter().chain(config.issuer.as_ref().map(IssuerConfig::name));
    let node = Node::new(Parts {
        external_url: external_url.clone(),
        max_body: BODY_MAX,
        verifier,
        ask_issuer,
        issuers: issuers.map(str::to_owned).collect(),
        client_trust: material.trust,
        posture: Arc::clone(&keeper),
        recorder: opened.recorder.clone(),
        vault: Arc::clone(&opened.vault),
        origin: Origin::new(OriginConfig {
            address: config.origin,
            body_max: BODY_MAX,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            idle_max: 1024,
        }),
        origin_host: config.origin_host.clone(),
        origin_credential: config
            .origin_credential
            .as_deref()
            .map(|path| keys::authorization(&config.secrets.read(path)?))
            .transpose()?,
        intel: Arc::clone(&intel.current().library.intelligence),
        consents: Arc::clone(&consents),
        watch,
        view: shown,
    });

    node.appeal.store(page_settings(config).appeal.map(Arc::new));
    let told = [node.watch.subscribe(), node.watch.subscribe_to_strangers()];
    let logs = Arc::new(open_logs(config, &opened)?);
    let archive = Archive {
        view: opened.view.clone(),
        vault: Arc::clone(&opened.vault),
        logs: Arc::clone(&logs),
        keys: vec![log_key(config)?],
        former: former_logs(config)?,
        scopes: data.join("scopes"),
        addresses: people::path(data),
        secrets: Arc::clone(&secrets),
    };
    let archive = Arc::new(archive);
    let (stop, stopped) = watch::channel(false);
    let office = Office::new(cases::Parts {
        registry: registry.clone(),
        archive: Arc::clone(&archive),
        keeper: Arc::clone(&keeper),
        outbox: open_outbox(data).await?,
        people: people::path(data),
        settings: case_settings(config)?,
        letter_key: *secrets.read_key("vault-index.key")?,
        log_key: log_key(config)?.to_string(),
        stop: stopped.clone(),
    });
    let message_key = keys::messages(&secrets)?;
    let message_keys = pages::keys(&message_key);
    let pager = Pager::new(pages::Parts {
        signals: Signals::open(&data.join("signals.db")).await.context("cannot open signals.db")?,
        office: Arc::clone(&office),
        keeper: Arc::clone(&keeper),
        key: message_key,
        deployment: config.deployment.clone(),
        on_loopback: config.clear_text,
        settings: page_settings(config),
    });
    pager.replace_registered(&snapshot);
    let registered = Arc::new(ArcSwap::from_pointee(Registered::of(&snapshot)));
    let roster = Arc::new(ArcSwap::from_pointee(roster(&snapshot)));
    let publish: Publish = {
        let (node, roster, contract) =
            (Arc::clone(&node), Arc::clone(&roster), Arc::clone(&contract));
        let (registered, pager) = (Arc::clone(&registered), Arc::clone(&pager));
        Arc::new(move |snapshot: Snapshot| {
            roster.store(Arc::new(self::roster(&snapshot)));
            registered.store(Arc::new(Registered::of(&snapshot)));
            pager.replace_registered(&snapshot);
            let contract = contract.load_full();
            node.replace_view(view(&contract, snapshot).map_err(|error| format!("{error:#}"))?);
            Ok(())
        })
    };
    let consents = keep_consents(data, consents, &keeper, &node).await?;
    let sessions = Arc::new(Sessions::default());
    let port = control.local_addr()?.port();
    let desk = Arc::new(Desk::new(desk::Parts {
        registry: registry.clone(),
        keeper: Arc::clone(&keeper),
        recorder: opened.recorder.clone(),
        eraser: Arc::new(opened.eraser),
        thinner: Arc::new(opened.thinner),
        archive,
        office: Arc::clone(&office),
        pager: Arc::clone(&pager),
        consents: consents.clone(),
        sessions: Arc::clone(&sessions),
        console: format!("http://localhost:{port}"),
        portal: config
            .portal
            .as_ref()
            .filter(|portal| portal.provider.is_none())
            .map(|portal| portal.url.clone()),
        contract: Arc::clone(&contract),
        advisories: advisories(config)?,
        publish,
        restored: {
            let node = Arc::clone(&node);
            Arc::new(move |target: &sever::Target| {
                node.watch.restored(target, &node.view().directory, clock::unix_now());
            })
        },
    }));
    let restricted = desk.recheck().await.context("the checks of vetting cannot be run")?;
    if !restricted.is_empty() {
        warn!(
            integrations = restricted.join(" "),
            "restricted at start: a check takes them out of use"
        );
    }
    office.resume().await.context("letters cannot be carried on")?;

    start_sever_listener(data, &keeper, Arc::clone(&roster), &desk)?;
    let tls = tls::Current::new(material.configs, material.ends, &node);
    let (transport, authority_tls, portal_tls) = match tls.listeners.clone() {
        None => (Transport::Clear, None, None),
        Some([data_plane, authority, portal]) => {
            (Transport::Tls(data_plane), Some(authority), Some(portal))
        }
    };
    let addresses = (data_plane.local_addr()?, authority.local_addr()?, control.local_addr()?);
    let rotation = Rotation::new(token_keys, Arc::clone(&endpoint), Arc::clone(&node));
    let connect = Arc::new(Connect {
        endpoint,
        flows: Flows::default(),
        consents: consents.clone(),
        keeper: Arc::clone(&keeper),
        client_trust: Arc::clone(&tls.trust),
        registered: Arc::new(move || registered.load_full()),
        portal: config.portal.as_ref().map(|portal| portal.url.clone()),
    });
    let tokens =
        tokens::routes(Arc::clone(&connect)).merge(register::routes(Arc::new(Registration {
            desk: Arc::clone(&desk),
            issuer: issuer.clone(),
        })));
    let tokens = tokens.merge(message_keys);
    let portal = config.portal.as_ref().map(|portal| -> Result<_> {
        Ok(portal::routes(Arc::new(Portal {
            origin: portal.url.clone(),
            company: portal.company.clone(),
            connect,
            passkeys: match &portal.provider {
                Some(_) => None,
                None => Some(Passkeys::new(&portal.url, &portal.company)?),
            },
            provider: portal
                .provider
                .as_ref()
                .map(|provider| provider.open(&config.secrets, &portal.url))
                .transpose()?,
            pages: portal::pages::Pages::default(),
        })))
    });
    let portal = portal.transpose()?;
    let operators = operators::routes(Arc::new(Operators {
        bodies: Semaphore::new(operators::BODIES_MAX),
        desk: Arc::clone(&desk),
        office: Arc::clone(&office),
        keeper,
    }));
    let measured = Measured {
        node: Arc::clone(&node),
        log: opened.view.clone(),
        witnesses: Arc::clone(&witnesses),
        intel: Arc::clone(&intel),
    };
    let shown = Shown {
        pager: Arc::clone(&pager),
        measured: measured.clone(),
        desk: Arc::clone(&desk),
        deployment: config.deployment.clone(),
        started: clock::unix_now(),
    };
    let operators =
        operators.merge(console::routes(shown.console(registry.clone(), sessions, port)?));
    let serving = keep(
        "data plane",
        listener::run(Arc::clone(&node), data_plane, transport, stopped.clone()),
    );
    keep("authority", control::listen::serve(authority, authority_tls, tokens, stopped.clone()));
    keep("operators", control::listen::serve(control, None, operators, stopped.clone()));
    if let (Some(PortalConfig { listen: address, url, .. }), Some(routes)) =
        (&config.portal, portal)
    {
        let listener = listen(*address).await?;
        info!(portal = %listener.local_addr()?, url, "subjects can connect applications");
        keep("portal", control::listen::serve(listener, portal_tls, routes, stopped.clone()));
    }
    let log = listen(config.log).await?;
    info!(log = %log.local_addr()?, "the log can be read");
    let files = log_listener::routes(Arc::new(LogFiles::new(&data.join("ledger"))));
    keep("log", control::listen::serve(log, None, files, stopped.clone()));
    let (newest, contradicted) = (opened.recorder.clone(), opened.recorder.clone());
    tokio::spawn(witnesses.run(
        move || newest.checkpoint(),
        move || contradicted.withhold_checkpoints(),
        stopped.clone(),
    ));
    if let Some(address) = config.metrics {
        let (listener, routes) = (listen(address).await?, metrics::routes(measured));
        info!(metrics = %listener.local_addr()?, "measuring");
        keep("metrics", control::listen::serve(listener, None, routes, stopped.clone()));
    }
    tokio::spawn(hear(told, Arc::clone(&pager), stopped.clone()));
    tokio::spawn(Arc::clone(&pager).run(stopped.clone()));
    let ticking = Arc::clone(&node);
    tokio::spawn(async move { ticking.tick().await });
    tokio::spawn(tls::say_what_ends(Arc::downgrade(&node), roster, Arc::clone(&tls.ends)));
    tokio::spawn(recheck_hourly(Arc::downgrade(&desk)));
    tokio::spawn(warn_of_bearer_daily(Arc::downgrade(&node)));
    tokio::spawn(index_along(Arc::downgrade(&logs)));
    tokio::spawn(erase_when_due(Arc::downgrade(&desk)));
    tokio::spawn(forget_consents_hourly(consents, opened.recorder.clone(), stopped.clone()));
    tokio::spawn(rotation::advance_when_due(Arc::downgrade(&rotation)));
    tokio::spawn(Arc::clone(&intel).run(Arc::downgrade(&node), stopped.clone()));
    if let Some(days) = config.retention_days {
        tokio::spawn(retain_hourly(Arc::downgrade(&desk), days));
    }

    let (data_plane, authority, control) = addresses;
    info!(%data_plane, %authority, %control, "serving");
    let config = config.clone();
    let shared = Arc::clone(&node);
    let reload = Reload {
        config,
        node: shared,
        intel,
        registry,
        desk,
        office,
        pager,
        rotation,
        contract,
        tls,
    };
    let recorder = opened.recorder;
    Ok(Running { data_plane, authority, control, node, recorder, reload, stop, serving })
}

impl Running {
    /// Reads lists, certificates, contract and policies anew and serves by them. Requests under way finish as they began.
    ///
    /// `path`: of the configuration file.
    ///
    /// # Errors
    /// What cannot be read or does not compile. Nothing is replaced then.
    pub(crate) async fn reload(&mut self, path: &Path) -> Result<()> {
        let reload = &mut self.reload;
        let mut config = Config::read(path)?;
        if let Some(key) = config.differs_beyond_reload(&reload.config) {
            bail!("`{key}` takes effect with a restart; nothing was reloaded");
        }
        private::check_directory(&config.data)?;
        config.secrets = reload.config.secrets.clone();
        let known = reload.intel.prepare(&config.intel, &config.secrets).await?;
        let material = tls::Material::read(&config)?;
        let (advisories, settings) = (advisories(&config)?, case_settings(&config)?);
        let (contract, snapshot) = compile_contract(&config, &reload.registry).await?;
        let view = view(&contract, snapshot)?;
        if let Some(path) = &config.detection.relationships {
            // First, because it can fail; what was taken in before it did is true all the same.
            watching::import(&reload.node.watch, path, &view.directory, clock::unix_now())?;
        }
        reload.rotation.take_over()?;
        reload.contract.store(contract);
        reload.node.replace_view(view);
        reload.intel.replace(known, &reload.node).await;
        reload.node.watch.shadow(config.detection.shadow.clone());
        reload.tls.replace(material);
        reload.desk.replace_advisories(advisories);
        reload.office.replace_settings(settings);
        let settings = page_settings(&config);
        reload.node.appeal.store(settings.appeal.clone().map(Arc::new));
        reload.pager.replace_settings(settings);
        reload.config = config;
        // A command may have changed the registry since it was read here; the desk publishes it once more, in its turn.
        let stale = "reloaded, but the registry could not be read";
        reload.desk.refresh().await.context(stale)?;
        // What was approved under another contract is not what is served by this one.
        reload.desk.recheck().await.context(stale)?;
        info!("reloaded");
        Ok(())
    }

    /// Stops accepting, lets requests under way finish, then ends the log in order: stop record, heads, checkpoint.
    ///
    /// # Errors
    /// If the log could not be ended.
    pub(crate) async fn stop(self) -> Result<()> {
        let _nobody_listens = self.stop.send(true);
        let _broke_off = self.serving.await;
        if timeout(LETTERS, self.reload.office.ended()).await.is_err() {
            warn!("letters that were being handed over are in doubt");
        }
        let recorder = self.recorder;
        tokio::task::spawn_blocking(move || recorder.stop())
            .await?
            .context("the log could not be ended in order")
    }
}

/// The generations before, and by which keys each is checked.
fn former_logs(config: &Config) -> Result<BTreeMap<u64, Former>> {
    let data = &config.data;
    let retired = generation::retired_keys(data)?;
    let seed = config.secrets.files()?.read_key(keys::LOG)?;
    let former = generation::former(data)?.into_iter().map(|(number, root)| {
        let origin = log_origin(&config.deployment, number);
        let mut keys = vec![note::SigningKey::new(&origin, &seed)?.verifying_key()?];
        keys.extend(retired.iter().filter(|key| key.name() == origin).cloned());
        Ok((number, Former { root, keys }))
    });
    former.collect()
}

/// The logs that questions are asked of.
fn open_logs(config: &Config, opened: &Opened) -> Result<Logs> {
    let data = &config.data;
    let current = ExposureIndex::open(data, opened.view.clone(), Some(Arc::clone(&opened.vault)))
        .context("the exposure index cannot be opened")?;
    let indexes = data.join(INDEXES_DIR);
    let former = generation::former(data)?.into_iter().map(|(number, root)| {
        let origin = log_origin(&config.deployment, number);
        let indexes = indexes.join(format!("generation-{number}"));
        Beside::own(&origin, root, indexes, Arc::clone(&opened.vault))
    });
    let replicas = config.replicas.iter().map(|(origin, keys)| {
        let root = data.join(REPLICAS_DIR).join(origin);
        let indexes = indexes.join(origin.replace('/', "+"));
        Beside::of_node(origin, keys.clone(), root, indexes)
    });
    Ok(Logs {
        origin: log_origin(&config.deployment, generation::current(data)?),
        current: Arc::new(current),
        former: former.collect(),
        replicas: replicas.collect(),
    })
}

/// Keeps the exposure indexes close behind the logs, so that nobody who asks waits for them. Ends with the node.
async fn index_along(logs: Weak<Logs>) {
    let mut said = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(logs) = logs.upgrade() else { return };
        let caught_up = tokio::task::spawn_blocking(move || logs.catch_up()).await;
        let failed = match caught_up {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{:#}", anyhow::Error::from(error))),
            Err(broken) => Some(broken.to_string()),
        };
        if let Some(why) = failed.as_ref().filter(|_| said != failed) {
            warn!("the exposure index does not grow: {why}");
        }
        said = failed;
    }
}

/// Opens the consents, and puts those in force before the data path.
async fn keep_consents(
    data: &Path,
    book: Arc<ConsentBook>,
    keeper: &Arc<Keeper>,
    node: &Arc<Node>,
) -> Result<Kept> {
    let store =
        Consents::open(&data.join("consents.db")).await.context("cannot open consents.db")?;
    let verifier = Arc::clone(node);
    let revoke = move |token, until| verifier.verifier.revoke(token, until, clock::unix_now());
    let kept =
        Kept::open(store, book, Arc::clone(keeper), Arc::new(revoke), clock::unix_now()).await;
    kept.context("consents.db cannot be read")
}

/// Deletes consents that nobody used for ninety days. Ends with the node.
async fn forget_consents_hourly(
    consents: Kept,
    recorder: Recorder,
    mut stop: watch::Receiver<bool>,
) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        tokio::select! {
            _ = hourly.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // By the record's time, which no step of the clock moves before an operator has seen it.
        let Ok(now) = recorder.now() else { continue };
        if let Err(error) = consents.forget(now).await {
            warn!(%error, "unused consents are not deleted");
        }
    }
}

async fn open_outbox(data: &Path) -> Result<Outbox> {
    let folder = data.join("mail");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Outbox::open(&folder.join("outbox.db")).await.context("cannot open mail/outbox.db")
}

fn advisories(config: &Config) -> Result<Advisories> {
    let Some(folder) = &config.advisories else { return Ok(Advisories::default()) };
    let read = control::vetting::read_advisories(folder)
        .with_context(|| format!("cannot read the advisories in `{}`", folder.display()))?;
    info!(advisories = read.len(), "advisories read");
    Ok(read)
}

/// The data plane's way to the foreign issuer.
fn asking(client: IssuerClient) -> AskIssuer {
    let client = Arc::new(client);
    Arc::new(move |question| {
        let client = Arc::clone(&client);
        Box::pin(async move { client.ask(question).await })
    })
}

/// What is configured for incidents.
fn case_settings(config: &Config) -> Result<cases::Settings> {
    let mut settings = cases::Settings::built_in()?;
    settings.company = config.company.clone();
    let Some(mail) = &config.mail else { return Ok(settings) };
    if let Some(path) = &mail.letter {
        settings.letter = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the letter `{}`", path.display()))?;
    }
    let signer = mail.dkim.as_ref().map(|(domain, selector, path)| -> Result<Signer> {
        let pem = config.secrets.read(path)?;
        Ok(Signer::new(domain, selector, &pem)?)
    });
    let mut sending = mail::Settings::default();
    let transport = match &mail.way {
        MailWay::Folder(folder) => mail::Transport::Folder(folder.clone()),
        MailWay::Smtp { host, port, tls, ca, login, connections } => {
            sending.connections = *connections;
            let trust = ca.clone().map_or(mail::Trust::System, mail::Trust::Only);
            let security = match tls {
                MailTls::Starttls => mail::Security::StartTls(trust),
                MailTls::Implicit => mail::Security::Tls(trust),
                MailTls::None => mail::Security::ClearTextToLoopback,
            };
            let login = login.as_ref().map(|(user, path)| {
                let login = mail::Login::new(user, &config.secrets.read(path)?);
                login.with_context(|| format!("`{}` is not one line of text", path.display()))
            });
            let (host, port, login) = (host.clone(), *port, login.transpose()?);
            mail::Transport::Smtp(mail::Smtp { host, port, security, login })
        }
    };
    let mailer = mail::Mailer::new(transport, signer.transpose()?, sending)?;
    settings.mail = Some((Arc::new(mailer), mail.from.clone()));
    Ok(settings)
}

/// Who is paged, and whom vendors write to.
fn page_settings(config: &Config) -> pages::Settings {
    let appeal = config.company.as_ref().map(|company| company.contact_email.clone());
    pages::Settings { destinations: config.pages.clone(), appeal }
}

/// Runs the checks of vetting once an hour: documents run out and keys grow old without anybody doing anything.
async fn recheck_hourly(desk: Weak<Desk>) {
    let mut every = tokio::time::interval(Duration::from_secs(3_600));
    // The first tick comes at once, and the start has checked already.
    every.tick().await;
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.recheck().await {
            error!(%reason, "the checks of vetting could not be run");
        }
    }
}

/// Says at start, and then once a day, whose tokens are taken without proof. Ends with the node.
async fn warn_of_bearer_daily(node: Weak<Node>) {
    let mut daily = tokio::time::interval(Duration::from_secs(86_400));
    loop {
        daily.tick().await;
        let Some(node) = node.upgrade() else { return };
        let (view, now) = (node.view(), clock::unix_now());
        for (id, exception) in &view.directory.bearer {
            if view.directory.bears(id, now) {
                let slug = view.directory.integrations.get(id).map(|of| &of.slug);
                let (owner, until) = (&exception.owner, exception.until);
                warn!(integration = slug, owner, %until, "its tokens are taken without proof");
            }
        }
    }
}

/// Carries out the erasures that are due, at start and then once a minute.
async fn erase_when_due(desk: Weak<Desk>) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.erase_due().await {
            error!(%reason, "subjects who are to be erased could not be, and it is tried again");
        }
    }
}

/// Thins what retention does not keep, at start and then once an hour.
async fn retain_hourly(desk: Weak<Desk>, days: u32) {
    let mut every = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        every.tick().await;
        let Some(desk) = desk.upgrade() else { return };
        if let Err(reason) = desk.retain(days).await {
            error!(%reason, "records that are too old could not be thinned, and it is tried again");
        }
    }
}

/// The keys of a data directory's vault.
///
/// # Errors
/// If a key file cannot be read.
pub(crate) fn vault_keys(config: &Config) -> Result<VaultKeys> {
    let (wrapping_id, wrapping) = vault::keys::in_use(&LocalDisk::new(&config.data)?)?;
    let files = config.secrets.files()?;
    let wrapping = files.read_key(wrapping.trim_start_matches("keys/"))?;
    Ok(VaultKeys { index: *files.read_key("vault-index.key")?, wrapping: *wrapping, wrapping_id })
}

/// The secret files, and a word on how they are kept.
fn open_secrets(config: &Config) -> Result<Arc<KeyFiles>> {
    let files = config.secrets.files()?;
    if !config.secrets.is_sealed() {
        warn!(
            "the files in keys/ are in the clear: `[secrets]` seals them, docs/operating/keys.md"
        );
    } else if files.sealing_is_due()? {
        warn!("sealing the files in keys/ was broken off: repeat `portcullis keys seal`");
    }
    Ok(files)
}

/// Asks the witnesses whether the directory is the newest there is of this log. Opening it writes and signs, so this comes first.
async fn ask_witnesses(config: &Config) -> Result<Arc<Witnesses>> {
    let ledger = config.data.join("ledger");
    let witnesses = Witnesses::new(config.witnesses.clone(), log_key(config)?, &ledger);
    if config.witnesses.is_empty() {
        return Ok(witnesses);
    }
    // A checkpoint of nothing is the beginning of every log, so it may be signed before anything is known.
    let nothing =
        || Ok::<_, anyhow::Error>(checkpoint::sign(&TreeHead::EMPTY, &signing_key(config)?));
    let stored = std::fs::read_to_string(ledger.join("checkpoint")).ok();
    witnesses.ask_at_start(&stored.map_or_else(nothing, Ok)?).await?;
    Ok(witnesses)
}

fn open_record(config: &Config) -> Result<Opened> {
    let mut opening = Opening::standard(signing_key(config)?, vault_keys(config)?);
    opening.next_key = next_signing_key(config)?;
    opening.ring = Arc::clone(config.secrets.files()?.ring());
    opening.lost_checkpoint = generation::lost_checkpoint(&config.data)?;
    let opened = recorder::open(&config.data, opening)?;
    if opened.recovered.torn {
        warn!(
            "the last write before the stop was cut short; it was acknowledged to nobody and is gone"
        );
    }
    Ok(opened)
}

/// Opens the register and makes it and the posture records of the log say the same.
async fn open_posture(directory: &Path, opened: &Opened) -> Result<Arc<Keeper>> {
    let mut register = PostureRegister::open(directory)?;
    let followed = register.follow(&opened.posture)?;
    if followed.taken_over > 0 {
        warn!(
            entries = followed.taken_over,
            "the posture file lacked entries that the log has, and has them again: an older copy, or a write that failed"
        );
    }
    for entry in followed.to_record {
        opened.recorder.append(Draft::Posture { entry }).await?;
    }
    Ok(Keeper::start(register, opened.recorder.clone())?)
}

/// Compiles the contract; classes it names for the first time get their numbers for good.
async fn compile_contract(
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

fn view(contract: &Arc<Contract>, snapshot: Snapshot) -> Result<View> {
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
fn full_scan(window: &DeclaredWindow) -> Option<FullScan> {
    let Change::Backfill { operation, full_scan: true, .. } = &window.change else { return None };
    let operation = OperationId::new(operation)?;
    let &DeclaredWindow { integration, from, to, .. } = window;
    Some(FullScan { integration, operation, from, to })
}

/// A window as detectors read it. What is no window was not declared.
fn window(declared: DeclaredWindow) -> Option<Window> {
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

fn roster(snapshot: &Snapshot) -> Roster {
    Roster { operators: snapshot.operators.clone(), directory: snapshot.directory.clone() }
}

/// As [`replay`], from the generation before. It may have ended because it cannot be read; that must not keep the next from beginning.
fn replay_former(data: &Path, vault: &Vault, told: &mut Replay<'_>) {
    let replayed = generation::before(data).and_then(|former| match former {
        Some(former) => replay(&former, vault, told).map(|_| ()),
        None => Ok(()),
    });
    if let Err(reason) = replayed {
        error!("what was read in the generation before is not counted in budgets: {reason:#}");
    }
}

/// Rebuilds budgets, habits and detectors from the log: what was read in the last day counts, and where from in the last month,
/// whatever happened to the process.
///
/// Returns what these records say must be in vault and registry.
fn replay(view: &LogView, vault: &Vault, told: &mut Replay<'_>) -> Result<Expected> {
    let since = UnixMicros(clock::unix_now().0.saturating_sub(habits::SLEEP.0));
    let mut expected = Expected::since(since);
    for record in view.records_since(since) {
        let record = record?.1;
        // Older than what counts: retention keeps more days than these, unless the clock was wrong.
        if record.is_thinned() {
            continue;
        }
        let record = record.decode()?;
        let at = record.header.time;
        expected.take(&record);
        if !matches!(record.body, Body::Access(_)) {
            continue;
        }
        let ordinals: Vec<_> = record
            .touches
            .iter()
            .filter_map(|touch| {
                // What was disclosed just before a quarter turned may be recorded just after it.
                let in_quarter = |quarter| vault.ordinal_of(&touch.pseudonym, quarter);
                let known = in_quarter(at.quarter());
                let known = known.or_else(|| in_quarter(at.quarter().saturating_sub(1)));
                if known.is_none() {
                    expected.unknown(touch.pseudonym, at.quarter());
                }
                known
            })
            .collect();
        told.take(&record, &ordinals);
        told.count(&record, &ordinals);
    }
    Ok(expected)
}

fn start_sever_listener(
    data: &Path,
    keeper: &Arc<Keeper>,
    roster: Arc<ArcSwap<Roster>>,
    desk: &Arc<Desk>,
) -> Result<()> {
    let run = data.join("run");
    std::fs::create_dir_all(&run)?;
    let (runtime, desk) = (tokio::runtime::Handle::current(), Arc::clone(desk));
    let then = move |command| {
        let desk = Arc::clone(&desk);
        runtime.spawn(async move {
            if let Err(reason) = desk.follow_cut(&command).await {
                error!(%reason, "the cut stands, but the registry does not show it");
            }
        });
    };
    sever_listener::listen(&run.join("sever.sock"), Arc::clone(keeper), roster, then)
        .context("cannot listen on run/sever.sock")
}

/// A port of 0 asks for a free one; what integrations are told then names the port that was given.
fn external_url(config: &Config, listener: &TcpListener) -> Result<String> {
    let port = listener.local_addr()?.port();
    Ok(config
        .external_url
        .strip_suffix(":0")
        .map_or(config.external_url.clone(), |host| format!("{host}:{port}")))
}

fn issuer(config: &Config, listener: &TcpListener) -> Result<String> {
    if let Some(url) = &config.authority_url {
        return Ok(url.clone());
    }
    let scheme = if config.clear_text { "http" } else { "https" };
    Ok(format!("{scheme}://localhost:{}", listener.local_addr()?.port()))
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; is another process there?"))
}

/// Keeps a listener running; one that ends by itself is worth waking somebody for.
fn keep(
    name: &'static str,
    listener: impl Future<Output = std::io::Result<()>> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(reason) = listener.await {
            error!(name, %reason, "a listener ended");
        }
    })
}
