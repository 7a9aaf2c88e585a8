use super::*;
use crate::listen;
use ledger::note::SigningKey;
use ledger::tile::TileWriter;
use ledger::{Sequencer, TreeHead};
use model::UnixMicros;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const SECRET: &str = "a secret beside the log";

/// A directory with a log that was published at `sizes`, and things that are nobody's business.
fn published(sizes: &[u64]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    std::fs::create_dir_all(ledger.join("segments")).unwrap();
    for secret in ["segments/000", "tiles.durable", "tile.key", "../log.key"] {
        std::fs::write(ledger.join(secret), SECRET).unwrap();
    }
    let key = SigningKey::new("test/node-1/1", &[7; 32]).unwrap();
    let (mut log, mut tiles) = (Sequencer::begin(key.name()), TileWriter::default());
    for &size in sizes {
        while log.size() < size {
            let record = log.heads(UnixMicros(1), [0; 16]);
            tiles.push(&record.stored.entry, record.leaf_hash);
        }
        for file in tiles.take() {
            let path = ledger.join(file.path.to_string());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.bytes).unwrap();
        }
        show(folder.path(), CHECKPOINT, &log.tree());
    }
    folder
}

fn show(folder: &Path, name: &str, tree: &TreeHead) {
    let key = SigningKey::new("test/node-1/1", &[7; 32]).unwrap();
    std::fs::write(folder.join("ledger").join(name), checkpoint::sign(tree, &key)).unwrap();
}

async fn listening(folder: &TempDir) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let files = Arc::new(LogFiles::new(&folder.path().join("ledger")));
    tokio::spawn(listen::serve(listener, None, routes(files), stopped));
    (address, stop)
}

/// The whole answer to a request whose first line is written as it is.
async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: log\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn checkpoint_and_tiles_are_served_with_their_types_and_for_as_long_as_they_hold() {
    let folder = published(&[3, 300]);
    let (address, _stop) = listening(&folder).await;
    let checkpoint = ask(address, "GET /checkpoint").await;
    assert!(checkpoint.starts_with("HTTP/1.1 200"), "{checkpoint}");
    assert!(checkpoint.contains("content-type: text/plain; charset=utf-8\r\n"), "{checkpoint}");
    assert!(checkpoint.contains("cache-control: no-cache\r\n"), "{checkpoint}");
    assert!(checkpoint.contains("\r\n\r\ntest/node-1/1\n300\n"), "{checkpoint}");
    for path in ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let tile = ask(address, &format!("GET /{path}")).await;
        assert!(tile.starts_with("HTTP/1.1 200"), "{path}: {tile}");
        assert!(tile.contains("content-type: application/octet-stream\r\n"), "{path}");
        assert!(tile.contains("cache-control: max-age=31536000, immutable\r\n"), "{path}");
    }
    let head = ask(address, "HEAD /tile/0/000").await;
    assert!(head.contains("content-length: 8192\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let partial = ask(address, "GET /tile/0/000.p/3").await;
    assert!(partial.starts_with("HTTP/1.1 200"), "of an earlier checkpoint: {partial}");
}

#[tokio::test]
async fn nothing_else_has_a_path() {
    let folder = published(&[300]);
    let (address, _stop) = listening(&folder).await;
    for path in [
        "/",
        "//checkpoint",
        "/checkpoint/",
        "/checkpoint?x",
        "/Checkpoint",
        "/checkpoint.cosigned",
        "/%63heckpoint",
        "/tiles.durable",
        "/tile.key",
        "/segments/000",
        "/../log.key",
        "/tile/../segments/000",
        "/tile/0/../../segments/000",
        "/tile/0/..%2f..%2fsegments%2f000",
        "/tile/%2e%2e/segments/000",
        "/tile/0/000/../../../../log.key",
        "/tile/0//000",
        "/tile/0/000?",
        "/tile/0/0000",
        "/tile/00/000",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/000.p/44/../44",
        "/tile/0/001.p/45",
        "/tile/0/001",
        "/tile/8/000.p/1",
        "/tile/0/x018/x446/x744/x073/x709/x551/615",
        "/tile/entries/002.p/1",
        "http://log/log.key",
        "/tile\\0\\000",
        "/tile/0/000%00",
    ] {
        let answer = ask(address, &format!("GET {path}")).await;
        let refused = answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400");
        assert!(refused, "{path}: {answer}");
        assert!(!answer.contains(SECRET), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(address, &format!("{method} /checkpoint")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn what_no_checkpoint_covers_is_not_there_yet() {
    let folder = published(&[3, 300]);
    let small = Sequencer::begin("test/node-1/1").tree();
    show(folder.path(), CHECKPOINT, &TreeHead { size: 255, ..small });
    let (address, _stop) = listening(&folder).await;
    assert!(ask(address, "GET /tile/0/000").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "GET /tile/1/000.p/1").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "GET /tile/0/000.p/3").await.starts_with("HTTP/1.1 200"));
    let bare = tempfile::tempdir().unwrap();
    let (address, _stop) = listening(&bare).await;
    assert!(ask(address, "GET /checkpoint").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn cosignatures_are_waited_for_and_the_log_never_seems_to_shrink() {
    let folder = published(&[300]);
    let files = LogFiles::new(&folder.path().join("ledger"));
    let at = |size| TreeHead { size, ..Sequencer::begin("test/node-1/1").tree() };
    let shown = async |files: &LogFiles| {
        let note = files.checkpoint().await.unwrap().unwrap();
        checkpoint::size_of(std::str::from_utf8(&note).unwrap()).unwrap()
    };
    show(folder.path(), COSIGNED, &at(290));
    assert_eq!(shown(&files).await, 290, "a fresh one with cosignatures comes before a newer one");
    show(folder.path(), COSIGNED, &at(280));
    assert_eq!(shown(&files).await, 300, "less than was shown before");
    show(folder.path(), COSIGNED, &at(300));
    assert_eq!(shown(&files).await, 300);
    show(folder.path(), CHECKPOINT, &at(310));
    let stale = std::fs::File::options()
        .write(true)
        .open(folder.path().join("ledger").join(COSIGNED))
        .unwrap();
    stale.set_modified(std::time::SystemTime::now() - COSIGNATURES_WITHIN * 2).unwrap();
    assert_eq!(shown(&files).await, 310, "witnesses that do not keep up are not waited for");
}
