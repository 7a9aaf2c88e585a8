//! Content codings of an origin's body: gzip and deflate are undone within bounds, everything else is refused.

use flate2::bufread::{GzDecoder, ZlibDecoder};
use std::io::Read;

/// Largest decoded body, in bytes.
pub(crate) const DECODED_BYTES_MAX: usize = 32 << 20;

/// A body may grow this much, in any case: small bodies of repetitive JSON compress better than [`RATIO_MAX`].
const FREE_BYTES: usize = 1 << 20;

/// Beyond [`FREE_BYTES`], how many times larger than its coded form a body may be. DEFLATE reaches 1032; lists of like objects were
/// seen below 60.
const RATIO_MAX: usize = 200;

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A coding that is not gzip or deflate, or more than one.
    #[error("the body has a content coding that is not understood")]
    Coding,
    /// Not valid in its coding, or with something after its end.
    #[error("the body is damaged")]
    Damaged,
    /// Larger than allowed once decoded.
    #[error("the body is too large once decoded")]
    TooLarge,
}

/// Undoes `coding`, the value of `content-encoding` if there was one.
pub(crate) fn decode(body: Vec<u8>, coding: Option<&[u8]>) -> Result<Vec<u8>, Undecodable> {
    let coding = coding.unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match coding.as_slice() {
        b"" | b"identity" => Ok(body),
        _ if body.is_empty() => Ok(body),
        //= RFC 9110 section 8.4.1.3: `x-gzip` is equivalent to `gzip`
        b"gzip" | b"x-gzip" => {
            let mut decoder = GzDecoder::new(body.as_slice());
            let decoded = read_bounded(&mut decoder, body.len())?;
            if decoder.get_ref().is_empty() { Ok(decoded) } else { Err(Undecodable::Damaged) }
        }
        //= RFC 9110 section 8.4.1.2: `deflate` is the zlib format
        b"deflate" => {
            let mut decoder = ZlibDecoder::new(body.as_slice());
            let decoded = read_bounded(&mut decoder, body.len())?;
            if decoder.get_ref().is_empty() { Ok(decoded) } else { Err(Undecodable::Damaged) }
        }
        _ => Err(Undecodable::Coding),
    }
}

fn read_bounded(decoder: &mut impl Read, coded: usize) -> Result<Vec<u8>, Undecodable> {
    let allowed = coded.saturating_mul(RATIO_MAX).clamp(FREE_BYTES, DECODED_BYTES_MAX);
    let mut decoded = Vec::new();
    let limit = u64::try_from(allowed).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut decoded).map_err(|_| Undecodable::Damaged)?;
    if decoded.len() > allowed { Err(Undecodable::TooLarge) } else { Ok(decoded) }
}
