//! Puts one node together from its data directory and starts its listeners. Reads as the deployment diagram.

mod chores;
mod log_keys;
mod opening;
mod replay;
mod settings;
mod view;

pub(crate) use log_keys::{log_key, log_origin, next_signing_key, note_key, vault_keys};

use crate::config::{Config, PortalConfig};
use crate::console::Shown;
use crate::hear::hear;
use crate::intel::Intel;
use crate::issuer::IssuerConfig;
use crate::metrics::{self, Measured};
use crate::rotation::{self, Rotation};
use crate::watching::{self, Replay};
use crate::{keys, people, tls};
use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use authority::TokenEndpoint;
use authority::flows::Flows;
use chores::{
    erase_when_due, forget_consents_hourly, index_along, recheck_hourly, retain_hourly,
    warn_of_bearer_daily,
};
use control::cases::{self, Office};
use control::connect::Connect;
use control::console::{self, sessions::Sessions};
use control::desk::{self, Desk, Publish};
use control::log_listener::{self, LogFiles};
use control::operators::{self, Operators};
use control::pages::{self, Pager};
use control::portal::passkeys::Passkeys;
use control::portal::{self, Portal};
use control::questions::Archive;
use control::register::{self, Registration};
use control::tokens::{self, Registered};
use credential::Verifier;
use disclosure::Contract;
use gateway::listener::{self, Transport};
use gateway::node::{Node, Parts};
use gateway::origin::{Origin, OriginConfig};
use gateway::sever_listener::{self, Roster};
use gateway::watch::Watch;
use opening::{
    ask_witnesses, former_logs, keep_consents, open_logs, open_outbox, open_posture, open_record,
    open_secrets,
};
use policy::ConsentBook;
use replay::{replay, replay_former};
use settings::{advisories, asking, case_settings, external_url, issuer, page_settings};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::clock;
use storage::embedded::{Keeper, Recorder};
use storage::registry::{Registry, Snapshot};
use storage::secrets::{InUse, TokenKeys, private};
use storage::signals::Signals;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};
use view::{compile_contract, roster, view};

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
    let roster = Arc::new(ArcSwap::from_pointee(roster(&snapshot, &contract.load())));
    let publish: Publish = {
        let (node, roster, contract) =
            (Arc::clone(&node), Arc::clone(&roster), Arc::clone(&contract));
        let (registered, pager) = (Arc::clone(&registered), Arc::clone(&pager));
        Arc::new(move |snapshot: Snapshot| {
            let contract = contract.load_full();
            roster.store(Arc::new(self::roster(&snapshot, &contract)));
            registered.store(Arc::new(Registered::of(&snapshot)));
            pager.replace_registered(&snapshot);
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
