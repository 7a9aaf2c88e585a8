//! Requests to a server of somebody else's choosing: an identity provider's endpoints, as its documents name them; receivers of messages; lists of threats.
//!
//! Where a request goes is what an attacker would like to choose, so the address is judged after the name was resolved and the connection is
//! made to the very address that was judged: a name that resolves to another one a moment later (DNS rebinding) changes nothing. https
//! only, no redirect is followed, no proxy, no cookie, and what comes back is bounded in time and size.

use crate::fetch::{NoAnswer, speak};
use axum::body::{Body, Bytes, to_bytes};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Uri};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How much of an answer, and how long for it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long one request may take, name and connection and all.
    pub patience: Duration,
    /// Longest answer.
    pub bytes_max: usize,
}

impl Bounds {
    /// While somebody waits for a page. Key sets with certificate chains in them are some ten KiB.
    const OF_A_PAGE: Self = Self { patience: Duration::from_secs(5), bytes_max: 256 * 1024 };
}

/// An address that is not asked. Whoever wrote it is at fault.
#[derive(Debug, Error)]
#[error("`{0}` is not an https:// address")]
pub struct BadAddress(String);

/// Why nothing is sent to an address. Who wrote it is at fault.
#[derive(Debug, Error)]
pub enum NotForEvents {
    /// It is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// Others could read what is sent there.
    #[error("`{0}` is clear text, which is for loopback addresses only")]
    ClearText(String),
}

/// Why there is nothing to read.
#[derive(Debug, Error)]
pub enum NotAsked {
    /// The address is not one that is asked.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The name resolves to nothing, or to nothing that may be asked.
    #[error("`{0}` is at no address that may be asked")]
    Nowhere(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The connection or the answer broke.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// It answered with another status.
    #[error("it answered {0}")]
    Status(u16),
}

/// Scheme, host and port. Equal if a browser would say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    secure: bool,
    host: String,
    port: u16,
}

/// One address to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    place: Place,
    /// Path and query.
    target: String,
}

impl Address {
    /// Reads an address that events are sent to: encrypted, or on this machine.
    ///
    /// # Errors
    /// [`NotForEvents`].
    pub fn for_events(text: &str) -> Result<Self, NotForEvents> {
        let address = Self::parse(text, true)?;
        if address.place.is_private() {
            Ok(address)
        } else {
            Err(NotForEvents::ClearText(text.to_owned()))
        }
    }

    /// Reads an absolute address. `clear_text`: whether http:// is one, which is then for loopback only.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(text: &str, clear_text: bool) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        // A fragment is not sent, so what stands in one is not what was meant.
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if clear_text => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().filter(|given| !given.as_str().contains('@'));
        let host = authority.ok_or_else(bad)?.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() || text.contains('#') {
            return Err(bad());
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { place: Place { secure, host, port }, target })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The address in one spelling: the host in lower case, and without the scheme's own port.
    pub fn url(&self) -> String {
        let Place { secure, host, port } = &self.place;
        let host = bracketed(host);
        let (scheme, own) = if *secure { ("https", 443) } else { ("http", 80) };
        let port = if *port == own { String::new() } else { format!(":{port}") };
        format!("{scheme}://{host}{port}{}", self.target)
    }
}

impl Place {
    /// Whether what is said there is encrypted or stays on this machine.
    pub fn is_private(&self) -> bool {
        self.secure || self.is_here()
    }

    /// Whether its name is this machine's.
    pub fn is_here(&self) -> bool {
        let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

/// What a request says beside its address.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// A form; without one the request is a GET.
    pub form: Option<String>,
    /// The value of `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// Other fields, `Accept` among them if it is not JSON that is asked for.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What a server answered, whatever it was.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Posts JSON with these fields; any 2xx says that it was taken. `ours`: whether the operator configured the address, which may be inside then.
///
/// # Errors
/// [`NotAsked`]; the receiver may have taken it all the same.
pub async fn post(
    address: &Address,
    ours: bool,
    fields: &[(&'static str, String)],
    content: Bytes,
) -> Result<(), NotAsked> {
    let posted = async {
        let stream = connect(&address.place, ours).await?;
        let host = address.place.secure.then_some(&*address.place.host);
        let mut connection = speak(stream, host).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&address.target)
            .header(HOST, authority(&address.place))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(content)).map_err(NoAnswer::from)?;
        let answer = connection.send_request(request).await.map_err(NoAnswer::from)?;
        // Nothing of its body is wanted, so nothing of it is read.
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(NotAsked::Status(status.as_u16())) }
    };
    let Bounds { patience, .. } = Bounds::OF_A_PAGE;
    timeout(patience, posted).await.map_err(|_| NotAsked::Late(patience))?
}

/// Every octet that is not unreserved (RFC 3986 section 2.3) as `%` and two digits: for paths, queries and forms alike, whose readers take `%20` for a space.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Host and port; the scheme's own port is left out, as in [`Address::url`].
fn authority(place: &Place) -> String {
    let own = if place.secure { 443 } else { 80 };
    let host = bracketed(&place.host);
    if place.port == own { host } else { format!("{host}:{}", place.port) }
}

/// Asks, and gives the body of a 200. `ours`: the place that the operator configured, which may be inside.
///
/// # Errors
/// [`NotAsked`].
pub async fn ask(address: &Address, ours: &Place, question: Question) -> Result<Bytes, NotAsked> {
    let Answer { status, body, .. } = exchange(address, ours, question, Bounds::OF_A_PAGE).await?;
    //= RFC 9700 section 4.12: a redirect is an answer like any other, and not one that was asked for
    if status == 200 { Ok(body) } else { Err(NotAsked::Status(status)) }
}

/// Asks, and gives the answer, a redirect like any other. `ours`: the place that the operator configured, which may be inside.
///
/// # Errors
/// [`NotAsked`], other than [`NotAsked::Status`].
pub async fn exchange(
    address: &Address,
    ours: &Place,
    question: Question,
    bounds: Bounds,
) -> Result<Answer, NotAsked> {
    let asked = async {
        let stream = connect(&address.place, address.place == *ours).await?;
        let host = address.place.secure.then_some(&*address.place.host);
        let mut connection = speak(stream, host).await?;
        let answer = connection.send_request(request(address, question)?).await;
        let answer = answer.map_err(NoAnswer::from)?;
        let (head, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), bounds.bytes_max).await.map_err(NoAnswer::from)?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    };
    timeout(bounds.patience, asked).await.map_err(|_| NotAsked::Late(bounds.patience))?
}

fn request(address: &Address, question: Question) -> Result<Request<Body>, NoAnswer> {
    let method = if question.form.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(&address.target)
        .header(HOST, authority(&address.place));
    if !question.fields.iter().any(|(name, _)| name == ACCEPT) {
        request = request.header(ACCEPT, "application/json");
    }
    for (name, value) in question.fields {
        request = request.header(name, value);
    }
    if let Some(authorization) = question.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if question.form.is_some() {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    Ok(request.body(question.form.map_or_else(Body::empty, Body::from))?)
}

/// Connects to the first address of the place that answers and may be asked.
async fn connect(place: &Place, is_ours: bool) -> Result<TcpStream, NotAsked> {
    let nowhere = || NotAsked::Nowhere(place.host.clone());
    let found = lookup_host((&*place.host, place.port)).await.map_err(|_| nowhere())?;
    let mut last = nowhere();
    for address in found.filter(|address| may_ask(*address, place, is_ours)) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = NoAnswer::from(error).into(),
        }
    }
    Err(last)
}

fn may_ask(address: SocketAddr, place: &Place, is_ours: bool) -> bool {
    let ip = address.ip().to_canonical();
    let encrypted_or_here = place.secure || ip.is_loopback();
    encrypted_or_here && (is_public(ip) || (is_ours && may_be_inside(ip)))
}

/// Whether anybody on the Internet can be at this address: not this machine, this network, or what machines are told about themselves.
///
/// Source: the IANA special-purpose address registries.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            let assigned = a == 192 && b == 0 && c == 0;
            let reserved = a == 0 || a >= 224; // "this network"; multicast, class E, broadcast
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || shared
                || benchmark
                || assigned
                || reserved)
        }
        IpAddr::V6(ip) => {
            // Only global unicast, 2000::/3, is handed out; the translations of IPv4 that are inside it are not asked.
            let [a, b, ..] = ip.segments();
            let special = a == 0x2001 && (b < 0x200 || b == 0xdb8);
            let translated = a == 0x2002;
            let documentation = a == 0x3fff && b < 0x1000;
            a & 0xe000 == 0x2000 && !special && !translated && !documentation
        }
    }
}

/// Whether a provider of the company's may be at an address that is not public: this machine or a private network. Never what a cloud tells
/// its machines about themselves, credentials among it: no provider is there, and a request to it is somebody else's wish.
fn may_be_inside(ip: IpAddr) -> bool {
    const METADATA: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    ];
    let inside = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.segments().first().is_some_and(|a| a & 0xfe00 == 0xfc00)
        }
    };
    inside && !METADATA.contains(&ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn only_plain_https_addresses_are_taken() {
        let address = Address::parse("https://Login.example/jwks?p=1", false).unwrap();
        let place = Place { secure: true, host: "login.example".to_owned(), port: 443 };
        assert_eq!((address.place(), &*address.target), (&place, "/jwks?p=1"));
        assert!(Address::parse("http://localhost:1/", true).is_ok());
        for wrong in [
            "http://login.example/",
            "https://a@login.example/",
            "https://login.example@evil.example/",
            "https://",
            "https:///x",
            "https://login.example/#x",
            "https://login.example/a b",
            "file:///etc/passwd",
            "gopher://127.0.0.1:25/",
            "login.example",
            "//login.example",
            "",
        ] {
            assert!(Address::parse(wrong, false).is_err(), "{wrong}");
        }
    }

    fn may(ip: &str, url: &str, is_ours: bool) -> bool {
        let address = Address::parse(url, true).unwrap();
        may_ask(SocketAddr::new(ip.parse().unwrap(), 443), address.place(), is_ours)
    }

    #[test]
    fn what_is_inside_is_asked_only_where_the_operator_said() {
        let url = "https://login.example/";
        for public in ["1.1.1.1", "9.9.9.9", "2606:4700::1111", "2a00:1450::1", "192.1.0.1"] {
            assert!(may(public, url, false) && may(public, url, true), "{public}");
        }
        for inside in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!may(inside, url, false), "{inside}");
            assert!(may(inside, url, true), "{inside}");
        }
        for never in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "::",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "100.64.0.1",
            "198.18.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:1::1",
            "2001:db8::1",
            "192.0.2.1",
            "240.0.0.1",
        ] {
            assert!(!may(never, url, false) && !may(never, url, true), "{never}");
        }
        assert!(!may("1.1.1.1", "http://login.example/", true), "in the clear");
        assert!(may("127.0.0.1", "http://localhost/", true));
        assert!(!may("127.0.0.1", "http://localhost/", false));
    }

    /// A server that answers every request with these octets.
    async fn server(answer: &'static str) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4_096];
                let _some = stream.read(&mut head).await;
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        Address::parse(&format!("http://127.0.0.1:{port}/x"), true).unwrap()
    }

    #[tokio::test]
    async fn a_redirect_leads_nowhere_and_another_place_inside_is_not_asked() {
        let inner = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        let ours = inner.place().clone();
        assert_eq!(&*ask(&inner, &ours, Question::default()).await.unwrap(), b"{}");
        let outer = server(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        let redirected = ask(&outer, outer.place(), Question::default()).await;
        assert!(matches!(redirected, Err(NotAsked::Status(302))), "{redirected:?}");
        let elsewhere = ask(&outer, &ours, Question::default()).await;
        assert!(matches!(elsewhere, Err(NotAsked::Nowhere(_))), "{elsewhere:?}");
        let long = server("HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n{}").await;
        assert!(ask(&long, long.place(), Question::default()).await.is_err());
    }
}
