//! The `add-checkpoint` call: what is sent, and what a refusal says.

use crate::fetch::Answer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::Digest;
use std::fmt::Write as _;

/// What a witness that gave no cosignature meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It saw this many records last.
    Seen(u64),
    /// It saw another checkpoint of the same size, or the proof does not lead from what it saw.
    Fork,
    /// Something else.
    Other(u16),
}

//= C2SP tlog-witness: old size line, proof lines, an empty line, the checkpoint
pub(super) fn request(old: u64, proof: &[Digest], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        // Writing to a string does not fail.
        let _ = writeln!(body, "{}", BASE64.encode(hash));
    }
    body.push('\n');
    body + note
}

pub(super) fn refusal(answer: &Answer) -> Refusal {
    let size = || text(answer)?.strip_suffix('\n')?.parse().ok();
    //= RFC 9110 8.3.1: parameters follow a semicolon; type and subtype are case-insensitive
    let media_type = answer.content_type.split(';').next().unwrap_or("").trim();
    match (answer.status, &*media_type.to_ascii_lowercase()) {
        //= C2SP tlog-witness: 409 with `text/x.tlog.size` names the size of the latest cosigned checkpoint
        (409, "text/x.tlog.size") => size().map_or(Refusal::Other(409), Refusal::Seen),
        //= C2SP tlog-witness: 409 without it: the sizes match and the roots differ; 422: the proof does not verify
        (409 | 422, _) => Refusal::Fork,
        (status, _) => Refusal::Other(status),
    }
}

pub(super) fn text(answer: &Answer) -> Option<&str> {
    std::str::from_utf8(&answer.body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        let body = body.as_bytes().to_vec().into();
        Answer { status, content_type: content_type.to_owned(), body }
    }

    #[test]
    fn a_request_has_the_lines_of_tlog_witness() {
        let note = "log\n2\nroot\n\n\u{2014} log sig\n";
        assert_eq!(request(0, &[], note), format!("old 0\n\n{note}"));
        let proof = [[0xff; 32]];
        let hash = "//////////////////////////////////////////8=";
        assert_eq!(request(1, &proof, note), format!("old 1\n{hash}\n\n{note}"));
    }

    #[test]
    fn a_refusal_says_what_the_witness_saw() {
        let size = "text/x.tlog.size";
        assert_eq!(refusal(&answer(409, size, "17\n")), Refusal::Seen(17));
        for same in
            ["text/x.tlog.size; charset=utf-8", "Text/X.tlog.Size ;q=1", "text/x.tlog.size;"]
        {
            assert_eq!(refusal(&answer(409, same, "17\n")), Refusal::Seen(17), "{same}");
        }
        assert_eq!(refusal(&answer(409, "text/x.tlog.sizes", "17\n")), Refusal::Fork);
        assert_eq!(refusal(&answer(409, size, "17")), Refusal::Other(409), "no line");
        assert_eq!(refusal(&answer(409, size, "-1\n")), Refusal::Other(409));
        assert_eq!(refusal(&answer(409, "text/plain", "other root\n")), Refusal::Fork);
        assert_eq!(refusal(&answer(422, "", "")), Refusal::Fork);
        assert_eq!(refusal(&answer(404, size, "17\n")), Refusal::Other(404));
        assert_eq!(refusal(&answer(200, "", "")), Refusal::Other(200));
    }
}
