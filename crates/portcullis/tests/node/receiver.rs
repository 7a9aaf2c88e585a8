//! A receiver of messages: a web server that keeps what it is sent, and answers as it is told.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) path: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// What it was answered.
    pub(crate) status: u16,
}

#[derive(Default)]
struct Kept {
    messages: Vec<Message>,
    /// Statuses of the next answers; 200 for all that follow.
    answers: VecDeque<u16>,
}

/// The server. Its thread ends with the test.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    /// Listens on a free port.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let receiver = Self { port: listener.local_addr()?.port(), kept: Arc::default() };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks is the sender's to repeat.
                let _broken = serving.serve(stream);
            }
        });
        Ok(receiver)
    }

    /// Answers the next messages with these statuses.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.kept().answers = statuses.iter().copied().collect();
    }

    /// What came for `path`.
    pub(crate) fn messages(&self, path: &str) -> Vec<Message> {
        self.kept().messages.iter().filter(|message| message.path == path).cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let path = line.split(' ').nth(1).context("a request line")?.to_owned();
        let mut fields = BTreeMap::new();
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            fields.insert(name.to_lowercase(), value.to_owned());
        }
        let length = fields.get("content-length").context("a length")?.parse()?;
        let mut body = vec![0; length];
        lines.read_exact(&mut body)?;
        let mut kept = self.kept();
        let status = kept.answers.pop_front().unwrap_or(200);
        let body = serde_json::from_slice(&body)?;
        kept.messages.push(Message { path, fields, body, status });
        drop(kept);
        write!(&stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        Ok(())
    }
}
