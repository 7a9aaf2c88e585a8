//! The client's side of one SMTP submission connection, strict about what a server may say.
//!
//! A server says one reply to one command. Whatever else it sends breaks the connection: a second reply would be taken for
//! the next command's, and one sent before TLS for one that came through it. Replies are bounded in length, lines and time.
//! There is no pipelining, because the outbox must stand between the last question and the content.
//!
//! Source: RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (implicit TLS), RFC 4954 (AUTH).

use super::letter::Composed;
use super::{Login, Security, Smtp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use storage::outbox::Claimed;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

//= RFC 5321 section 4.5.3.1.5: 512 bytes; servers send longer ones
const REPLY_LINE_BYTES_MAX: u64 = 2_048;
const REPLY_LINES_MAX: usize = 64;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Over everything up to the first letter: TCP, TLS, greeting, EHLO, AUTH.
    pub connect: Duration,
    /// Over one command.
    pub command: Duration,
    /// Over one message and the answer to it.
    pub content: Duration,
}

impl Default for Patience {
    //= RFC 5321 section 4.5.3.2: five minutes for a command, ten for the end of a message
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(60),
            command: Duration::from_secs(300),
            content: Duration::from_secs(600),
        }
    }
}

/// What a server answered: three digits, and text behind them on each line.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) code: u16,
    lines: Vec<String>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the server took too long")]
    Slow,
    #[error("the server closed the connection")]
    Closed,
    #[error("what the server sent is no SMTP reply")]
    Garbage,
    #[error("the server answered what it was not asked")]
    Unasked,
    #[error("the server offers neither AUTH PLAIN nor AUTH LOGIN")]
    NoLogin,
    #[error("clear text goes to loopback only, and this is elsewhere")]
    ClearText,
    #[error("{0}")]
    Answered(Reply),
}

/// What became of the content.
pub(super) enum Handed {
    Answered(Reply),
    /// It broke before the end of the message was written, so the server cannot have taken it.
    NotTaken(Broken),
    /// It broke after that.
    Unknown(Broken),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which letters can be sent.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    patience: Patience,
}

impl Connection {
    /// Connects, encrypts, says hello and logs in.
    pub(super) async fn open(
        server: &Smtp,
        tls: Option<Arc<ClientConfig>>,
        patience: Patience,
    ) -> Result<Self, Broken> {
        timeout(patience.connect, Self::establish(server, tls, patience))
            .await
            .unwrap_or(Err(Broken::Slow))
    }

    async fn establish(
        server: &Smtp,
        tls: Option<Arc<ClientConfig>>,
        patience: Patience,
    ) -> Result<Self, Broken> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        // The end of a message is a write of its own, which Nagle's algorithm would hold back.
        tcp.set_nodelay(true)?;
        let hello = hello(tcp.local_addr()?);
        let is_loopback = tcp.peer_addr()?.ip().is_loopback();
        let mut connection = match (&server.security, tls) {
            (Security::Tls(_), Some(tls)) => {
                let stream = encrypt(Box::new(tcp), tls, &server.host).await?;
                let mut connection = Self { stream, patience };
                connection.reply().await?.expect(220)?;
                connection
            }
            (Security::StartTls(_), Some(tls)) => {
                let mut clear = Self { stream: BufReader::new(Box::new(tcp)), patience };
                clear.reply().await?.expect(220)?;
                clear.command(&format!("EHLO {hello}\r\n")).await?.positive()?;
                // Whether it was offered is not asked: the offer could have been taken out on the way.
                clear.command("STARTTLS\r\n").await?.expect(220)?;
                //= RFC 3207 section 4.2: what was learned before TLS is discarded. Who sent more than that is not believed.
                clear.quiet().await?;
                let stream = encrypt(clear.stream.into_inner(), tls, &server.host).await?;
                Self { stream, patience }
            }
            (Security::ClearTextToLoopback, _) if is_loopback => {
                let mut connection = Self { stream: BufReader::new(Box::new(tcp)), patience };
                connection.reply().await?.expect(220)?;
                connection
            }
            (Security::ClearTextToLoopback | Security::StartTls(_) | Security::Tls(_), _) => {
                return Err(Broken::ClearText);
            }
        };
        let offers = connection.command(&format!("EHLO {hello}\r\n")).await?.positive()?;
        if let Some(login) = &server.login {
            connection.log_in(&offers, login).await?;
        }
        Ok(connection)
    }

    //= RFC 4954 section 4, RFC 4616; LOGIN is nobody's standard and the only thing some servers offer
    async fn log_in(&mut self, offers: &Reply, login: &Login) -> Result<(), Broken> {
        let encode = |text: &str| Zeroizing::new(STANDARD.encode(text));
        if offers.offers("AUTH", "PLAIN") {
            let both = Zeroizing::new(format!("\0{}\0{}", login.user, *login.password));
            self.command(&format!("AUTH PLAIN {}\r\n", *encode(&both))).await?.expect(235)?;
        } else if offers.offers("AUTH", "LOGIN") {
            self.command("AUTH LOGIN\r\n").await?.expect(334)?;
            self.command(&format!("{}\r\n", *encode(&login.user))).await?.expect(334)?;
            self.command(&format!("{}\r\n", *encode(&login.password))).await?.expect(235)?;
        } else {
            return Err(Broken::NoLogin);
        }
        Ok(())
    }

    /// Begins a letter. Who may send is the configuration's matter: any refusal is the connection's, not the letter's.
    pub(super) async fn mail(&mut self, letter: &Composed) -> Result<(), Broken> {
        self.command(&format!("MAIL FROM:<{}>\r\n", letter.from)).await?.positive()?;
        Ok(())
    }

    /// Names whom it is for.
    pub(super) async fn recipient(&mut self, letter: &Composed) -> Result<Reply, Broken> {
        self.command(&format!("RCPT TO:<{}>\r\n", letter.to)).await
    }

    /// Asks whether the content may come.
    pub(super) async fn data(&mut self) -> Result<Reply, Broken> {
        let reply = self.command("DATA\r\n").await?;
        if reply.code < 400 && reply.code != 354 {
            return Err(Broken::Garbage);
        }
        self.quiet().await?;
        Ok(reply)
    }

    /// Hands the letter over.
    pub(super) async fn content(&mut self, _: &Claimed, letter: &Composed) -> Handed {
        self.content_that_may_double(letter).await
    }

    /// Hands over a letter that does no harm if it comes twice.
    pub(super) async fn content_that_may_double(&mut self, letter: &Composed) -> Handed {
        let patience = self.patience.content;
        match timeout(patience, self.all_but_the_end(&letter.bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => return Handed::NotTaken(broken),
            Err(_) => return Handed::NotTaken(Broken::Slow),
        }
        match timeout(patience, self.end()).await {
            Ok(Ok(reply)) => Handed::Answered(reply),
            Ok(Err(broken)) => Handed::Unknown(broken),
            Err(_) => Handed::Unknown(Broken::Slow),
        }
    }

    /// Takes a letter back before its content.
    pub(super) async fn reset(&mut self) -> Result<(), Broken> {
        self.command("RSET\r\n").await?.positive()?;
        Ok(())
    }

    /// Says good bye; what the server answers makes no difference.
    pub(super) async fn quit(mut self) {
        let patience = self.patience.command.min(Duration::from_secs(5));
        timeout(patience, self.command("QUIT\r\n")).await.ok();
    }

    async fn command(&mut self, line: &str) -> Result<Reply, Broken> {
        let patience = self.patience.command;
        let exchange = async {
            self.quiet().await?;
            self.write(line.as_bytes()).await?;
            self.reply().await
        };
        timeout(patience, exchange).await.unwrap_or(Err(Broken::Slow))
    }

    async fn all_but_the_end(&mut self, message: &[u8]) -> Result<(), Broken> {
        self.write(&dot_stuffed(message)).await?;
        self.quiet().await
    }

    async fn end(&mut self) -> Result<Reply, Broken> {
        self.write(b".\r\n").await?;
        let reply = self.reply().await?;
        // Anything between 300 and 399 answers another question.
        if (300..400).contains(&reply.code) { Err(Broken::Garbage) } else { Ok(reply) }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// That the server has nothing to say before it is asked, as far as can be seen without waiting.
    async fn quiet(&mut self) -> Result<(), Broken> {
        // Asked once and not awaited: a timeout of nothing costs a tick of the timer, several times for each letter.
        poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut self.stream).poll_fill_buf(context) {
                Poll::Pending => Ok(()),
                Poll::Ready(Ok([])) => Err(Broken::Closed),
                Poll::Ready(Ok(_)) => Err(Broken::Unasked),
                Poll::Ready(Err(error)) => Err(error.into()),
            })
        })
        .await
    }

    //= RFC 5321 section 4.2: the same code on each line, a hyphen behind it on all but the last
    async fn reply(&mut self) -> Result<Reply, Broken> {
        let mut reply: Option<Reply> = None;
        for _ in 0..REPLY_LINES_MAX {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(REPLY_LINE_BYTES_MAX);
            if bounded.read_until(b'\n', &mut line).await? == 0 {
                return Err(Broken::Closed);
            }
            let line = line.strip_suffix(b"\n").ok_or(Broken::Garbage)?.trim_ascii_end();
            let (digits, rest) = line.split_at_checked(3).ok_or(Broken::Garbage)?;
            let code = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|code| (200..600).contains(code))
                .ok_or(Broken::Garbage)?;
            let reply = reply.get_or_insert_with(|| Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(Broken::Garbage);
            }
            let (last, text) = match rest {
                [] => (true, rest),
                [b' ', text @ ..] => (true, text),
                [b'-', text @ ..] => (false, text),
                _ => return Err(Broken::Garbage),
            };
            reply.lines.push(String::from_utf8_lossy(text).into_owned());
            if last {
                return Ok(reply.clone());
            }
        }
        Err(Broken::Garbage)
    }
}

impl Reply {
    fn expect(self, code: u16) -> Result<Self, Broken> {
        if self.code == code { Ok(self) } else { Err(Broken::Answered(self)) }
    }

    fn positive(self) -> Result<Self, Broken> {
        if self.code < 300 { Ok(self) } else { Err(Broken::Answered(self)) }
    }

    /// Whether a reply to EHLO lists `keyword`, with `parameter` among its parameters.
    fn offers(&self, keyword: &str, parameter: &str) -> bool {
        self.lines.iter().skip(1).any(|line| {
            let mut words = line.split(' ');
            words.next().is_some_and(|word| word.eq_ignore_ascii_case(keyword))
                && words.any(|word| word.eq_ignore_ascii_case(parameter))
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" "))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its text often repeats an address.
        f.debug_tuple("Reply").field(&self.code).finish()
    }
}

async fn encrypt(
    stream: Box<dyn Stream>,
    tls: Arc<ClientConfig>,
    host: &str,
) -> io::Result<BufReader<Box<dyn Stream>>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let encrypted = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(BufReader::new(Box::new(encrypted)))
}

//= RFC 5321 section 4.1.3: who has no name that others know says its address
fn hello(local: SocketAddr) -> String {
    match local {
        SocketAddr::V4(local) => format!("[{}]", local.ip()),
        SocketAddr::V6(local) => format!("[IPv6:{}]", local.ip()),
    }
}

//= RFC 5321 section 4.5.2
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

#[cfg(test)]
mod tests;
