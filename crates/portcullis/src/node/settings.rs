//! The configuration, as the parts of a node take it.

use crate::config::{Config, MailTls, MailWay};
use anyhow::{Context, Result};
use control::cases;
use control::issuer::IssuerClient;
use control::mail;
use control::mail::dkim::Signer;
use control::pages;
use gateway::node::AskIssuer;
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::info;
use vetting::osv::Advisories;

pub(super) fn advisories(config: &Config) -> Result<Advisories> {
    let Some(folder) = &config.advisories else { return Ok(Advisories::default()) };
    let read = control::vetting::read_advisories(folder)
        .with_context(|| format!("cannot read the advisories in `{}`", folder.display()))?;
    info!(advisories = read.len(), "advisories read");
    Ok(read)
}

/// The data plane's way to the foreign issuer.
pub(super) fn asking(client: IssuerClient) -> AskIssuer {
    let client = Arc::new(client);
    Arc::new(move |question| {
        let client = Arc::clone(&client);
        Box::pin(async move { client.ask(question).await })
    })
}

/// What is configured for incidents.
pub(super) fn case_settings(config: &Config) -> Result<cases::Settings> {
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
pub(super) fn page_settings(config: &Config) -> pages::Settings {
    let appeal = config.company.as_ref().map(|company| company.contact_email.clone());
    pages::Settings { destinations: config.pages.clone(), appeal }
}

/// A port of 0 asks for a free one; what integrations are told then names the port that was given.
pub(super) fn external_url(config: &Config, listener: &TcpListener) -> Result<String> {
    let port = listener.local_addr()?.port();
    Ok(config
        .external_url
        .strip_suffix(":0")
        .map_or(config.external_url.clone(), |host| format!("{host}:{port}")))
}

pub(super) fn issuer(config: &Config, listener: &TcpListener) -> Result<String> {
    if let Some(url) = &config.authority_url {
        return Ok(url.clone());
    }
    let scheme = if config.clear_text { "http" } else { "https" };
    Ok(format!("{scheme}://localhost:{}", listener.local_addr()?.port()))
}
