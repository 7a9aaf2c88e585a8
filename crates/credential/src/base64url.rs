//! Base64url without padding, in its one canonical spelling: padding, white space and set trailing bits are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Digest;

/// The text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

//= RFC 7515 section 2: "with all trailing '=' characters omitted and without the inclusion of any line breaks, whitespace, or other additional characters"
/// The bytes of `text`, if it is their one spelling.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// 32 bytes, as thumbprints and hashes are written.
pub fn decode_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let exact = text.len() == 43
        && URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut digest).is_ok_and(|n| n == 32);
    exact.then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_spelling() {
        assert_eq!(decode(b"_-8"), Some(vec![0xff, 0xef]));
        for other in ["_-8=", "_-9", "/+8", "_-8 ", " _-8", "_-8\n", "_"] {
            assert_eq!(decode(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn digests_are_exactly_32_bytes() {
        assert_eq!(decode_digest(&encode(&[7; 32])), Some([7; 32]));
        for n in [0, 31, 33] {
            assert_eq!(decode_digest(&encode(&vec![7; n])), None, "{n} bytes");
        }
        assert_eq!(decode_digest(&"*".repeat(43)), None);
    }
}
