//! Letters as files of a Maildir, for deployments whose mail leaves by other means.
//!
//! A file's name comes from the letter's Message-ID, so an attempt that is repeated finds the file and adds none: here a
//! letter is delivered exactly once, as long as nobody has moved it on in between.

use super::letter::Composed;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Makes the three directories of a Maildir.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    ["tmp", "new", "cur"].iter().try_for_each(|part| fs::create_dir_all(folder.join(part)))
}

/// Puts a letter into `new/`, durably. True if it was not there before.
pub(super) fn deliver(folder: &Path, letter: &Composed) -> io::Result<bool> {
    let name = name(&letter.message_id);
    let (tmp, new) = (folder.join("tmp").join(&name), folder.join("new").join(&name));
    // What an attempt before this left there may be half a letter.
    let mut file = File::create(&tmp)?;
    file.write_all(&letter.bytes)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&tmp, &new) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    fs::remove_file(&tmp)?;
    File::open(folder.join("new"))?.sync_all()?;
    Ok(linked)
}

fn name(message_id: &str) -> String {
    let mut name = String::new();
    for byte in digest(&SHA256, message_id.as_bytes()).as_ref().iter().take(16) {
        // Writing to a `String` does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".portcullis");
    name
}

#[cfg(test)]
mod tests {
    use super::super::letter::Content;
    use super::*;
    use model::UnixMicros;

    #[test]
    fn a_letter_that_is_delivered_twice_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).unwrap();
        let letter = |message_id| {
            let content = Content {
                from: "a@b.example",
                to: "c@d.example",
                title: "t",
                message_id,
                date: UnixMicros(0),
                body: "b",
            };
            Composed::new(&content).unwrap()
        };
        fs::write(folder.path().join("tmp").join(name("x@y")), "half a let").unwrap();
        assert!(deliver(folder.path(), &letter("x@y")).unwrap());
        assert!(!deliver(folder.path(), &letter("x@y")).unwrap());
        assert!(deliver(folder.path(), &letter("z@y")).unwrap());
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        assert_eq!(
            fs::read(folder.path().join("new").join(name("x@y"))).unwrap(),
            letter("x@y").bytes
        );
    }
}
