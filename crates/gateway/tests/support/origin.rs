//! An origin that keeps every byte it receives. One request to a connection, so that whatever comes after it shows.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Every byte received, one entry for each connection.
type Received = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct RecordingOrigin {
    pub(crate) address: SocketAddr,
    received: Received,
}

impl RecordingOrigin {
    /// Answers each request with `{"echo": CONTENT}` and closes.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Received::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&kept)));
            }
        });
        Self { address, received }
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.received.lock().unwrap()
    }
}

async fn answer(mut stream: TcpStream, received: Received) {
    let place = {
        let mut received = received.lock().unwrap();
        received.push(Vec::new());
        received.len() - 1
    };
    let keep = |bytes: &[u8]| -> Option<usize> {
        let mut received = received.lock().unwrap();
        let all = received.get_mut(place)?;
        all.extend_from_slice(bytes);
        content_start(all)
    };
    let mut buffer = [0; 4096];
    let start = loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        if let Some(start) = keep(buffer.get(..read).unwrap_or_default()) {
            break start;
        }
    };
    // The gateway sends a request in one write, and the ones in these tests fit one segment of loopback.
    let content = received
        .lock()
        .unwrap()
        .get(place)
        .and_then(|all| all.get(start..))
        .map_or(String::new(), |content| String::from_utf8_lossy(content).into_owned());
    let body = serde_json::json!({ "echo": content }).to_string();
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _gone = stream.write_all(reply.as_bytes()).await;
    let _gone = stream.shutdown().await;
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        keep(buffer.get(..read).unwrap_or_default());
    }
}

/// Where the content of the first request begins, once its head is there.
pub(crate) fn content_start(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4)
}
