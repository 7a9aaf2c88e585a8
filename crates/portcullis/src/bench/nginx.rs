//! The peer: Debian's nginx as a bare reverse proxy, tuned as its own documentation advises for this.

use super::connection::Target;
use super::process::Process;
use super::tls;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

/// Where Debian installs it; `PATH` of an unprivileged shell often lacks `/usr/sbin`.
const PROGRAM: &str = "/usr/sbin/nginx";

/// The version nginx says it has, such as `nginx/1.22.1`.
///
/// # Errors
/// If it is not installed.
pub(crate) fn version() -> Result<String> {
    let output = Command::new(PROGRAM)
        .arg("-v")
        .output()
        .context("nginx is missing; install it with `apt-get install nginx-light`, or run bench/gateway.sh, which does")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let version =
        text.trim().strip_prefix("nginx version: ").context("`nginx -v` named no version")?;
    Ok(version.to_owned())
}

/// Starts nginx in `dir`, on one core, as a proxy in front of `origin`, with TLS on the client's side if `over_tls`.
///
/// # Errors
/// If it is not installed or does not start.
pub(crate) fn start(
    dir: &Path,
    origin: SocketAddr,
    core: usize,
    over_tls: bool,
) -> Result<(Process, Target)> {
    let address = free_port()?;
    let config = dir.join("nginx.conf");
    let (listen, tls) = if over_tls {
        let (certificate, key) = (dir.join("nginx.pem"), dir.join("nginx.key"));
        tls::write_server(&certificate, &key)?;
        let tls = tls::trusting(&certificate, None)?;
        (with_tls(address, &certificate, &key), Some(tls))
    } else {
        (format!("listen {address};"), None)
    };
    std::fs::write(&config, configuration(dir, &listen, origin))?;
    let mut command = Command::new(PROGRAM);
    command.arg("-p").arg(dir).arg("-c").arg(&config).arg("-e").arg(dir.join("error.log"));
    let mut process = Process::start(command, core)?;
    if let Err(error) = process.wait_until_listening(address) {
        let log = std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
        bail!("{error:#}; nginx says: {}", log.trim());
    }
    Ok((process, Target { address, tls }))
}

/// TLS as ours: 1.3 alone, nothing resumed.
fn with_tls(address: SocketAddr, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "listen {address} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_session_cache off;
        ssl_session_tickets off;"
    )
}

/// One worker, keep-alive on both sides without end, no access log: the least nginx can do per request.
fn configuration(dir: &Path, listen: &str, origin: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server_tokens off;
    client_body_temp_path {dir}/client_body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream origin {{
        server {origin};
        keepalive 128;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        {listen}
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}

/// A loopback port that was free a moment ago; whoever takes it in between makes the start fail.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
