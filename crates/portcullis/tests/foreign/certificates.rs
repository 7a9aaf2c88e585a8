//! Client certificates made by OpenSSL and shown by curl, Python's ssl, oauth4webapi and `openssl s_client`, to a node whose CAs and
//! revocation lists change while connections are open. What reached the origin is what the origin says.

use crate::scripts;
use crate::support::{
    Application, Node, Onboarded, Protected, Transport, Trial, portcullis, said, serve, wait,
};
use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

const SPIFFE: &str = "spiffe://acme.example/sync";
const PERSON: &str = "/v1/people/p-0001";

#[test]
fn certificates_that_openssl_made_are_believed_as_far_as_they_go() -> Result<()> {
    if !scripts::installed("openssl, curl, Python's ssl and oauth4webapi with client certificates")
    {
        return Ok(());
    }
    let (files, origin) = (Files::make()?, Origin::start()?);
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"));
    let (openapi, overlay) =
        (folder.join("people-openapi.yaml"), folder.join("people-overlay.yaml"));
    let address = origin.address;
    let protected =
        Protected { origin: address, credential: None, openapi: &openapi, overlay: &overlay };
    let mut node = Node::start(&protected, Transport::Tls)?;
    // Only ports that it was started with can stand in a file that is read again.
    node.stop()?;
    node.process = serve(&node.data())?.0;
    let mut world = World { files, origin, node };

    // Of one vendor a certificate is pinned, of the other a CA and a rule are registered.
    let pinned = world.employ("pinned", "own")?;
    let ruled = world.employ("ruled", "spare")?;
    let own = world.files.path("own.pem");
    world.credential(&pinned.client, &["--certificate", &own])?;
    let ca = world.files.path("ca.pem");
    world.credential(&ruled.client, &["--ca", &ca, "--san-uri", "SPIFFE://Acme.Example/sync"])?;
    world.check_registration(&pinned.client)?;

    world.check_self_signed(&pinned)?;
    assert!(world.token(&ruled, "worker").is_err(), "the CA is not configured yet");
    world.configure("client_ca = \"client-ca.pem\"")?;
    world.check_ca(&ruled)?;
    world.check_oauth4webapi(&ruled)?;
    world.check_no_session_is_resumed()?;
    world.check_reloads(&ruled)?;
    world.check_list()?;
    world.check_alarms()
}

/// An integration: its client_id and its one grant.
struct Client {
    client: String,
    grant: String,
}

struct World {
    files: Files,
    origin: Origin,
    node: Node,
}

impl World {
    fn employ(&self, slug: &str, key: &str) -> Result<Client> {
        let jwk = self.files.jwk(key)?;
        let private = self.files.path(&format!("{key}.key"));
        // The sandbox is tried by the key, which is registered first.
        let read = |by: &Onboarded| {
            let mut request = portcullis();
            request.args(["request", PERSON, "--private-key", &private]);
            request.args(["--integration", &by.integration, "--grant", &by.grant, "--config"]);
            said(request.arg(self.node.data().join("portcullis.toml"))).map(drop)
        };
        let application = Application {
            slug,
            jwk: &jwk,
            operations: &["getPerson"],
            classes: &["user.unique_id"],
            purpose: "support",
            trial: Some(Trial { subject: "p-0001", read: &read }),
        };
        let onboarded = self.node.onboard(&application)?;
        Ok(Client { client: onboarded.integration, grant: onboarded.grant })
    }

    fn credential(&self, client: &str, means: &[&str]) -> Result<String> {
        let of = ["credential", "add", "--integration", client, "--days", "10"];
        self.node.operate(&[&of[..], means].concat())
    }

    fn check_registration(&self, client: &str) -> Result<()> {
        let [ca, own, other, leaf] =
            ["ca.pem", "own.pem", "other.pem", "worker.pem"].map(|name| self.files.path(name));
        for refused in [
            &["--ca", &ca][..],
            &["--ca", &ca, "--san-uri", SPIFFE, "--san-dns", "a.example"],
            &["--certificate", &own, "--san-uri", SPIFFE],
            &["--ca", &ca, "--san-uri", "spiffe://acme.example"],
            &["--ca", &ca, "--san-dns", "*.acme.example"],
            &["--ca", &leaf, "--san-uri", "spiffe://acme.example/a"],
            &["--certificate", &own],
            // Its key is not one that the application names.
            &["--certificate", &other],
        ] {
            if self.credential(client, refused).is_ok() {
                bail!("{refused:?} was registered");
            }
        }
        Ok(())
    }

    fn check_self_signed(&self, client: &Client) -> Result<()> {
        let token = self.token(client, "own")?;
        let claims = claims(&token)?;
        let wanted = self.files.thumbprint("own")?;
        assert_eq!(claims.pointer("/cnf"), Some(&json!({ "x5t#S256": wanted })));
        assert_eq!(self.get(&token, Some("own"), &[])?, 200);
        assert_eq!(self.get(&token, Some("other"), &[])?, 401);
        assert_eq!(self.get(&token, Some("worker"), &[])?, 401);
        assert_eq!(self.get(&token, None, &[])?, 401);
        let pem = std::fs::read_to_string(self.files.path("own.pem"))?;
        let body = pem.lines().filter(|line| !line.starts_with("---")).collect::<String>();
        let claim = [
            format!("Client-Cert: :{body}:"),
            format!("X-Forwarded-Client-Cert: Cert={body}"),
            format!("X-SSL-Client-Cert: {body}"),
            "X-Client-Verify: SUCCESS".to_owned(),
        ];
        assert_eq!(self.get(&token, None, &claim)?, 401, "a header is no certificate");
        assert_eq!(self.get(&token, Some("other"), &claim)?, 401);
        assert_eq!(self.get(&token, Some("own"), &claim)?, 200);
        // The certificate of another integration, and none.
        assert!(self.token(client, "other").is_err());
        assert!(self.token(client, "worker").is_err());
        for request in self.origin.requests() {
            let request = request.to_ascii_lowercase();
            assert!(!request.contains("cert") && !request.contains("verify"), "{request}");
        }
        // Two in the sandbox, two with the certificate.
        assert_eq!(self.origin.requests().len(), 4);
        Ok(())
    }

    fn check_ca(&self, client: &Client) -> Result<()> {
        let token = self.token(client, "worker")?;
        assert_eq!(self.get(&token, Some("worker"), &[])?, 200);
        assert_eq!(self.get(&token, Some("second"), &[])?, 401, "the same name, another key");
        for refused in
            ["below", "upper", "two-uris", "server-only", "expired", "is-ca", "foreign", "dns-only"]
        {
            assert!(self.token(client, refused).is_err(), "{refused} was believed");
        }
        Ok(())
    }

    fn check_oauth4webapi(&self, client: &Client) -> Result<()> {
        let task = json!({
            "issuer": self.node.issuer(),
            "resource": self.node.url(),
            "client_id": client.client,
            "scope": client.grant,
            "certificate": self.files.path("worker.pem"),
            "key": self.files.path("worker.key"),
            "ca": self.node.data().join("keys/ca.pem"),
            "paths": [PERSON],
        });
        let mut node = Command::new("node");
        node.current_dir(scripts::directory()).arg("mtls.mjs").arg(task.to_string());
        let printed: Value = serde_json::from_str(&said(&mut node)?)?;
        assert_eq!(printed.pointer("/token_type"), Some(&json!("bearer")));
        let wanted = self.files.thumbprint("worker")?;
        assert_eq!(printed.pointer("/cnf/x5t#S256"), Some(&json!(wanted)));
        assert_eq!(printed.pointer("/replies/0/status"), Some(&json!(200)), "{printed}");
        let methods = printed.pointer("/server/token_endpoint_auth_methods_supported");
        let wanted = json!(["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"]);
        assert_eq!(methods, Some(&wanted));
        Ok(())
    }

    /// OpenSSL connects six times with the memory of the session before: every handshake is whole, at both listeners.
    fn check_no_session_is_resumed(&self) -> Result<()> {
        for url in [self.node.url(), self.node.issuer()] {
            let host = url.trim_start_matches("https://");
            let session = self.files.folder.path().join("session.pem");
            let printed = said(
                Command::new("openssl")
                    .args(["s_client", "-connect", host, "-reconnect", "-servername", "localhost"])
                    .args(["-cert", &self.files.path("worker.pem")])
                    .args(["-key", &self.files.path("worker.key")])
                    .arg("-CAfile")
                    .arg(self.node.data().join("keys/ca.pem"))
                    .arg("-sess_out")
                    .arg(&session)
                    .stdin(Stdio::null()),
            )?;
            assert_eq!(printed.matches("New, TLSv1.3").count(), 6, "{printed}");
            assert!(!printed.contains("Reused"), "{printed}");
            assert!(!printed.contains("Session Ticket arrived"), "{printed}");
            assert!(!session.exists(), "a session to resume was given out");
        }
        Ok(())
    }

    /// One connection of Python's, open all the time.
    fn check_reloads(&self, client: &Client) -> Result<()> {
        let token = self.token(client, "worker")?;
        let mut python = Python::connect(self, "worker", &token)?;
        let server = python.server.clone();
        assert_eq!(python.get()?, "200");
        let with_list = "client_ca = \"client-ca.pem\"\nclient_crls = [\"client-ca.crl\"]";
        self.files.list(&[])?;
        self.configure(with_list)?;
        assert_eq!(python.get()?, "200");
        self.files.list(&[
            "-crl_lastupdate",
            "20260101000000Z",
            "-crl_nextupdate",
            "20260102000000Z",
        ])?;
        self.configure(with_list)?;
        assert_eq!(python.get()?, "401", "the list has expired");
        assert!(self.token(client, "worker").is_err());
        self.files.list(&[])?;
        self.configure(with_list)?;
        assert_eq!(python.get()?, "200");
        self.files.revoke("worker")?;
        self.files.list(&[])?;
        self.configure(with_list)?;
        assert_eq!(python.get()?, "401", "it was revoked");
        assert!(self.token(client, "worker").is_err());
        // Another certificate of the same name goes on.
        let token = self.token(client, "second")?;
        let mut second = Python::connect(self, "second", &token)?;
        assert_eq!(second.get()?, "200");
        assert_eq!(second.server, server);
        // The server's own certificate is replaced; who is connected stays so.
        self.files.replace_server(&self.node.data().join("keys"))?;
        self.configure(with_list)?;
        assert_eq!(second.get()?, "200");
        let third = Python::connect(self, "second", &token)?;
        assert_ne!(third.server, server, "a connection made after the reload");
        self.configure("")?;
        assert_eq!(second.get()?, "401", "the CA is gone");
        Ok(())
    }

    fn check_list(&self) -> Result<()> {
        let list = said(
            portcullis()
                .args(["credential", "list", "--json", "--config"])
                .arg(self.node.data().join("portcullis.toml"))
                .arg("--key")
                .arg(self.node.key("first")),
        )?;
        let list: Value = serde_json::from_str(&list)?;
        let rows = list.pointer("/rows").and_then(Value::as_array).context("rows")?;
        let of = |kind: &str| {
            rows.iter().filter(|row| row.get("kind") == Some(&json!(kind))).collect::<Vec<_>>()
        };
        assert_eq!([of("key").len(), of("certificate").len(), of("ca").len()], [2, 1, 1]);
        assert_eq!(
            of("ca").first().and_then(|row| row.get("rule")),
            Some(&json!(format!("san_uri {SPIFFE}")))
        );
        // Registered for ten days, so it is time to think of the next one.
        assert!(rows.iter().all(|row| row.get("ends_in_days") == Some(&json!(9))), "{list}");
        Ok(())
    }

    /// Started again, the node says what ends soon.
    fn check_alarms(&mut self) -> Result<()> {
        self.node.stop()?;
        self.node.process = serve(&self.node.data())?.0;
        let log = || std::fs::read_to_string(self.node.data().with_extension("log"));
        // Two keys, a certificate, a CA with its rule.
        wait(|| Ok((log()?.matches("ends soon what=\"credential\"").count() == 4).then_some(())))
    }

    /// Obtains a token by certificate, with curl.
    fn token(&self, client: &Client, by: &str) -> Result<String> {
        let Client { client, grant } = client;
        let body = format!("grant_type=client_credentials&client_id={client}&scope={grant}");
        let url = format!("{}/token", self.node.issuer());
        let printed = said(self.curl(Some(by)).args(["--data", &body, &url]))?;
        let answer: Value = serde_json::from_str(&printed).with_context(|| printed.clone())?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).with_context(|| printed.clone())
    }

    /// The status of a read, with curl.
    fn get(&self, token: &str, by: Option<&str>, headers: &[String]) -> Result<u16> {
        let mut curl = self.curl(by);
        curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        for header in headers.iter().cloned().chain([format!("Authorization: Bearer {token}")]) {
            curl.args(["--header", &header]);
        }
        Ok(said(curl.arg(format!("{}{PERSON}", self.node.url())))?.parse()?)
    }

    fn curl(&self, by: Option<&str>) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert"]);
        curl.arg(self.node.data().join("keys/ca.pem"));
        if let Some(by) = by {
            curl.args(["--cert", &self.files.path(&format!("{by}.pem"))]);
            curl.args(["--key", &self.files.path(&format!("{by}.key"))]);
        }
        curl
    }

    /// Writes these lines where the configuration has its certificates, and has the node read it again.
    fn configure(&self, lines: &str) -> Result<()> {
        let data = self.node.data();
        let path = data.join("portcullis.toml");
        let text = std::fs::read_to_string(&path)?;
        let kept =
            text.lines().filter(|line| !line.trim_start_matches("# ").starts_with("client_"));
        let text = kept.collect::<Vec<_>>().join("\n").replacen(
            "lists = []",
            &format!("{lines}\nlists = []"),
            1,
        );
        std::fs::write(&path, text)?;
        std::fs::copy(self.files.path("ca.pem"), data.join("client-ca.pem"))?;
        if Path::new(&self.files.path("ca.crl")).exists() {
            std::fs::copy(self.files.path("ca.crl"), data.join("client-ca.crl"))?;
        }
        let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
        let reloaded = || log().matches(" reloaded").count();
        let before = reloaded();
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.node.process.id())?);
        let pid = pid.context("a process has an id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        wait(|| {
            if log().contains("not reloaded") {
                bail!("{}", log());
            }
            Ok((reloaded() > before).then_some(()))
        })
    }
}

/// Keys and certificates that OpenSSL made.
struct Files {
    folder: TempDir,
}

impl Files {
    fn make() -> Result<Self> {
        let files = Self { folder: tempfile::tempdir()? };
        std::fs::write(
            files.path("ca.cnf"),
            "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ncrlnumber = number.txt\ndefault_md = sha256\n\
             default_crl_days = 7\n[own]\nbasicConstraints = critical, CA:TRUE\n\
             keyUsage = critical, keyCertSign, cRLSign\n",
        )?;
        std::fs::write(files.path("index.txt"), "")?;
        std::fs::write(files.path("number.txt"), "01\n")?;
        for (ca, days) in [("ca", "300"), ("foreign-ca", "300")] {
            files.key(ca)?;
            let subject =
                format!("req -x509 -new -key {ca}.key -subj /CN=acme -days {days} -out {ca}.pem");
            files.openssl(&format!("{subject} -config /etc/ssl/openssl.cnf -addext keyUsage=critical,keyCertSign,cRLSign"))?;
        }
        for own in ["own", "other"] {
            files.key(own)?;
            files.openssl(&format!(
                "req -x509 -new -key {own}.key -subj /CN={own} -days 30 -out {own}.pem"
            ))?;
        }
        files.key("spare")?;
        let uri = format!("subjectAltName = URI:{SPIFFE}");
        let usual =
            "keyUsage = critical, digitalSignature\nextendedKeyUsage = clientAuth, serverAuth";
        files.leaf("worker", "ca", &format!("{uri}\n{usual}"), "30")?;
        files.leaf("second", "ca", &format!("{uri}\n{usual}"), "30")?;
        files.leaf("below", "ca", &format!("{uri}/b\n{usual}"), "30")?;
        files.leaf(
            "upper",
            "ca",
            &format!("subjectAltName = URI:spiffe://acme.example/SYNC\n{usual}"),
            "30",
        )?;
        files.leaf(
            "two-uris",
            "ca",
            &format!("{uri}, URI:spiffe://acme.example/b\n{usual}"),
            "30",
        )?;
        files.leaf(
            "server-only",
            "ca",
            &format!("{uri}\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth"),
            "30",
        )?;
        files.leaf("expired", "ca", &format!("{uri}\n{usual}"), "-1")?;
        files.leaf(
            "is-ca",
            "ca",
            &format!("{uri}\n{usual}\nbasicConstraints = critical, CA:TRUE"),
            "30",
        )?;
        files.leaf("foreign", "foreign-ca", &format!("{uri}\n{usual}"), "30")?;
        files.leaf(
            "dns-only",
            "ca",
            &format!("subjectAltName = DNS:acme.example\n{usual}"),
            "30",
        )?;
        Ok(files)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn openssl(&self, arguments: &str) -> Result<String> {
        self.openssl_with(&arguments.split(' ').collect::<Vec<_>>())
    }

    fn openssl_with(&self, arguments: &[&str]) -> Result<String> {
        said(Command::new("openssl").current_dir(self.folder.path()).args(arguments))
    }

    fn key(&self, name: &str) -> Result<()> {
        let made =
            format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key");
        self.openssl(&made).map(drop)
    }

    fn leaf(&self, name: &str, ca: &str, extensions: &str, days: &str) -> Result<()> {
        self.key(name)?;
        std::fs::write(self.path(&format!("{name}.ext")), extensions)?;
        self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"))?;
        let signed =
            format!("x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial");
        self.openssl(&format!("{signed} -days {days} -extfile {name}.ext -out {name}.pem"))
            .map(drop)
    }

    fn list(&self, more: &[&str]) -> Result<()> {
        let made = "ca -gencrl -config ca.cnf -keyfile ca.key -cert ca.pem -out ca.crl";
        self.openssl_with(&[&made.split(' ').collect::<Vec<_>>()[..], more].concat()).map(drop)
    }

    fn revoke(&self, name: &str) -> Result<()> {
        let revoked = format!("ca -revoke {name}.pem -config ca.cnf -keyfile ca.key -cert ca.pem");
        self.openssl(&revoked).map(drop)
    }

    /// Another certificate for the node, of the CA that clients trust.
    fn replace_server(&self, keys: &Path) -> Result<()> {
        let [server, key, ca, ca_key] =
            ["server.pem", "server.key", "ca.pem", "ca.key"].map(|name| keys.join(name));
        if !ca_key.exists() {
            // The CA's key was not kept: a CA of our own follows, which clients are told of.
            self.key("server-ca")?;
            self.openssl(
                "req -x509 -new -key server-ca.key -subj /CN=next -days 30 -out server-ca.pem",
            )?;
            self.leaf("server", "server-ca", "subjectAltName = DNS:localhost", "30")?;
            std::fs::copy(self.path("server-ca.pem"), &ca)?;
        }
        std::fs::copy(self.path("server.pem"), server)?;
        std::fs::copy(self.path("server.key"), key)?;
        Ok(())
    }

    /// SHA-256 of the DER, base64url, as OpenSSL has it.
    fn thumbprint(&self, name: &str) -> Result<String> {
        let printed = self.openssl(&format!("x509 -in {name}.pem -noout -fingerprint -sha256"))?;
        let (_, hex) = printed.split_once('=').context("a fingerprint")?;
        let bytes: Vec<u8> =
            hex.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A file with the public key as a JWK.
    fn jwk(&self, name: &str) -> Result<PathBuf> {
        self.openssl(&format!("pkey -in {name}.key -pubout -outform DER -out {name}.der"))?;
        let der = std::fs::read(self.path(&format!("{name}.der")))?;
        // A P-256 key ends in its point: x and y, 32 bytes each.
        let (x, y) = der.split_at(der.len() - 64).1.split_at(32);
        let [x, y] = [x, y].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let path = self.folder.path().join(format!("{name}.jwk"));
        std::fs::write(&path, json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }).to_string())?;
        Ok(path)
    }
}

/// A connection of Python's.
struct Python {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// SHA-256 of the certificate that the server showed.
    server: String,
}

impl Python {
    fn connect(world: &World, by: &str, token: &str) -> Result<Self> {
        let task = json!({
            "host": world.node.url().trim_start_matches("https://"),
            "ca": world.node.data().join("keys/ca.pem"),
            "certificate": world.files.path(&format!("{by}.pem")),
            "key": world.files.path(&format!("{by}.key")),
            "token": token,
        });
        let mut python = Command::new("python3");
        python.current_dir(scripts::directory()).arg("mtls.py").arg(task.to_string());
        let mut process = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asks = process.stdin.take().context("its input")?;
        let answers = BufReader::new(process.stdout.take().context("its output")?);
        let mut python = Self { process, asks, answers, server: String::new() };
        python.server = python.line()?;
        Ok(python)
    }

    fn get(&mut self) -> Result<String> {
        writeln!(self.asks, "{PERSON}")?;
        self.asks.flush()?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("Python ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// An API that keeps the head of every request.
struct Origin {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, heads) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || stream.map(|stream| answer(stream, &kept)));
            }
        });
        Ok(Self { address, heads })
    }

    fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: std::net::TcpStream, heads: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let body = r#"{"id":"p-0001"}"#;
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
    let _gone = write!(stream, "{head}: {}\r\n\r\n{body}", body.len());
}

fn claims(token: &str) -> Result<Value> {
    let payload = token.split('.').nth(1).context("a JWT has three parts")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
}
