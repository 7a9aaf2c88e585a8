//! The origin of the benchmark: answers every request with the same account record, as cheaply as it can.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The record: 1.8 KB of JSON, the account of [`ACCOUNT_ID`].
pub(crate) const ACCOUNT: &str = include_str!("account.json");

/// Whose account [`ACCOUNT`] is. Nobody: the record is made up.
pub(crate) const ACCOUNT_ID: &str = "acc_000042";

/// Serves on a loopback port from the current runtime until that ends, and returns the address.
///
/// # Errors
/// If there is no loopback port to be had.
pub(crate) async fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let reply: Arc<[u8]> = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ACCOUNT}",
        ACCOUNT.len()
    )
    .into_bytes()
    .into();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that ends badly shows in the generator's counts.
            tokio::spawn(serve(stream, Arc::clone(&reply)));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream, reply: Arc<[u8]>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 8 * 1024];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let count = stream.read(free).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        // One request at a time and none with content: that is all its callers send.
        if buffer.get(..filled).is_some_and(|seen| seen.ends_with(b"\r\n\r\n")) {
            stream.write_all(&reply).await?;
            filled = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_the_account_it_says_it_is() {
        let account: serde_json::Value = serde_json::from_str(ACCOUNT).unwrap();
        assert_eq!(account.get("id").and_then(|id| id.as_str()), Some(ACCOUNT_ID));
        assert!((1700..1900).contains(&ACCOUNT.len()), "{} bytes", ACCOUNT.len());
    }
}
