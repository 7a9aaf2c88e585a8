//! `Content-Digest` (RFC 9530): whether the content is the one that was signed.

use super::BadSignature;
use super::fields::byte_sequences;
use aws_lc_rs::digest::{SHA256, SHA512, digest};

/// Compares the content with every digest of it that the field gives.
///
/// # Errors
/// [`BadSignature::Digest`] if one differs, or none is of an algorithm that counts.
///
/// Source: RFC 9530 sections 2 and 5: `sha-256` and `sha-512` count; the others are insecure, or unknown and ignored.
pub(crate) fn check(field: &[u8], content: &[u8]) -> Result<(), BadSignature> {
    let mut holds = false;
    for (algorithm, expected) in byte_sequences(field)? {
        let algorithm = match algorithm {
            //= RFC 9530 section 5: active algorithms only
            "sha-256" => &SHA256,
            "sha-512" => &SHA512,
            _ => continue,
        };
        //= RFC 9530 section 2: the digest is of the content as received
        if digest(algorithm, content).as_ref() != expected {
            return Err(BadSignature::Digest);
        }
        holds = true;
    }
    if holds { Ok(()) } else { Err(BadSignature::Digest) }
}
