//! Message content: fixed length, chunked, or until the connection closes; decoded as it arrives.

use bytes::{Bytes, BytesMut};

use super::fields::{self, BadFields};
use super::names;

/// Longest line `chunk-size [ chunk-ext ] CRLF`, and most bytes of chunk extensions in one message: they are read by
/// nobody, so they are only room for abuse.
const MAX_CHUNK_LINE: usize = 256;
const MAX_EXTENSIONS: usize = 1024;

/// Longest trailer section.
const MAX_TRAILERS: usize = 4096;

/// How the end of a message's content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// This many bytes, at least one.
    Exact(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; only an origin's reply. Nothing tells such content from a truncated one.
    UntilClose,
}

/// Content that breaks its framing, or exceeds a limit. Who sent it is at fault; the connection must close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not 1 to 16 hex digits.
    #[error("chunk size is malformed")]
    ChunkSize,
    /// Not `;name` or `;name=value` with tokens, or too many of them.
    #[error("chunk extension is refused")]
    ChunkExtension,
    /// Chunk data is not followed by CRLF, or a line ends otherwise.
    #[error("chunk does not end in CR LF")]
    ChunkEnd,
    /// A malformed trailer section, or a long one.
    #[error("trailer section is malformed")]
    Trailer,
    /// A trailer field that would change framing, routing, authentication or the reading of the content.
    #[error("trailer section holds a forbidden field")]
    TrailerForbidden,
    /// Longer than the limit.
    #[error("content is too long")]
    TooLong,
    /// The connection ended inside the content.
    #[error("content is cut short")]
    Truncated,
}

/// What [`BodyDecoder::decode`] got out of the buffer. It holds content, so it cannot be printed.
pub enum Decoded {
    /// The next bytes of content, never empty.
    Data(Bytes),
    /// More bytes must be read into the buffer first.
    Wait,
    /// The content is complete; what is left in the buffer is the next message.
    End,
}

/// Takes content out of a connection's buffer.
///
/// Call [`decode`](Self::decode) until it says `Wait` (then read more) or `End`; at the end of the connection call
/// [`finish`](Self::finish). After an error the connection has no readable next byte and must close.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of content that may still come.
    allowance: u64,
    extension_allowance: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Exact { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers,
    UntilClose,
    End,
}

impl BodyDecoder {
    /// For content of this length; more than `max` bytes are [`BadBody::TooLong`].
    pub const fn new(length: BodyLength, max: u64) -> Self {
        let state = match length {
            BodyLength::Empty => State::End,
            BodyLength::Exact(left) => State::Exact { left },
            BodyLength::Chunked => State::ChunkSize,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, allowance: max, extension_allowance: MAX_EXTENSIONS }
    }

    /// Takes the next piece of content off the front of `buffer`.
    ///
    /// # Errors
    /// [`BadBody`], but never `Truncated`. The same bytes give the same outcome however they were split, and at most
    /// 4 KiB (of trailers) wait in `buffer` undecoded.
    ///
    /// Source: RFC 9112 section 7.1. Deviations: only tokens as values of chunk extensions; trailers are checked and dropped.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadBody> {
        loop {
            self.state = match self.state {
                State::End => return Ok(Decoded::End),
                State::Exact { left: 0 } => State::End,
                State::ChunkData { left: 0 } => State::ChunkEnd,
                State::Exact { left } => {
                    // Known before the first byte, so refuse before buffering any.
                    if left > self.allowance {
                        return Err(BadBody::TooLong);
                    }
                    return Ok(match self.take(buffer, left) {
                        Some((data, left)) => {
                            self.state = State::Exact { left };
                            Decoded::Data(data)
                        }
                        None => Decoded::Wait,
                    });
                }
                State::ChunkData { left } => {
                    return Ok(match self.take(buffer, left) {
                        Some((data, left)) => {
                            self.state = State::ChunkData { left };
                            Decoded::Data(data)
                        }
                        None => Decoded::Wait,
                    });
                }
                State::UntilClose => {
                    if self.allowance == 0 && !buffer.is_empty() {
                        return Err(BadBody::TooLong);
                    }
                    let taken = self.take(buffer, u64::MAX);
                    return Ok(taken.map_or(Decoded::Wait, |(data, _)| Decoded::Data(data)));
                }
                State::ChunkSize => match self.chunk_size(buffer)? {
                    Some(0) => State::Trailers,
                    Some(left) if left > self.allowance => return Err(BadBody::TooLong),
                    Some(left) => State::ChunkData { left },
                    None => return Ok(Decoded::Wait),
                },
                State::ChunkEnd => match buffer.get(..buffer.len().min(2)) {
                    Some(b"\r\n") => {
                        let _ = buffer.split_to(2);
                        State::ChunkSize
                    }
                    Some(b"" | b"\r") => return Ok(Decoded::Wait),
                    _ => return Err(BadBody::ChunkEnd),
                },
                State::Trailers => {
                    if !skip_trailers(buffer)? {
                        return Ok(Decoded::Wait);
                    }
                    State::End
                }
            }
        }
    }

    /// Whether the content is complete.
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::End | State::Exact { left: 0 })
    }

    /// The connection has ended after all of it was decoded.
    ///
    /// # Errors
    /// [`BadBody::Truncated`] unless the content was complete or ran until the close.
    pub const fn finish(&self) -> Result<(), BadBody> {
        if self.is_complete() || matches!(self.state, State::UntilClose) {
            Ok(())
        } else {
            Err(BadBody::Truncated)
        }
    }

    /// Up to `left` bytes from the front of `buffer`, within the allowance, and how many are left then.
    fn take(&mut self, buffer: &mut BytesMut, left: u64) -> Option<(Bytes, u64)> {
        let most = usize::try_from(left.min(self.allowance)).unwrap_or(usize::MAX);
        let data = buffer.split_to(buffer.len().min(most)).freeze();
        let taken = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.allowance = self.allowance.saturating_sub(taken);
        (taken > 0).then_some((data, left - taken))
    }

    /// The size of the next chunk, if its line has arrived.
    fn chunk_size(&mut self, buffer: &mut BytesMut) -> Result<Option<u64>, BadBody> {
        let window = buffer.get(..buffer.len().min(MAX_CHUNK_LINE)).unwrap_or_default();
        let Some(line_feed) = window.iter().position(|byte| *byte == b'\n') else {
            return if window.len() == MAX_CHUNK_LINE {
                Err(BadBody::ChunkExtension)
            } else {
                Ok(None)
            };
        };
        let line = buffer.split_to(line_feed + 1);
        let line = line.strip_suffix(b"\r\n").ok_or(BadBody::ChunkEnd)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at_checked(digits).ok_or(BadBody::ChunkSize)?;
        // 16 digits fill 64 bits, so the sum below cannot overflow.
        if !(1..=16).contains(&size.len()) {
            return Err(BadBody::ChunkSize);
        }
        if !extensions.is_empty() {
            self.extension_allowance = self
                .extension_allowance
                .checked_sub(extensions.len())
                .ok_or(BadBody::ChunkExtension)?;
            check_extensions(extensions)?;
        }
        let mut value = 0;
        for digit in size {
            let digit = char::from(*digit).to_digit(16).ok_or(BadBody::ChunkSize)?;
            value = value << 4 | u64::from(digit);
        }
        Ok(Some(value))
    }
}

/// `*( ";" token [ "=" token ] )`
fn check_extensions(extensions: &[u8]) -> Result<(), BadBody> {
    let rest = extensions.strip_prefix(b";").ok_or(BadBody::ChunkSize)?;
    for extension in rest.split(|byte| *byte == b';') {
        let mut parts = extension.splitn(2, |byte| *byte == b'=');
        if !parts.all(names::is_token) {
            return Err(BadBody::ChunkExtension);
        }
    }
    Ok(())
}

/// Drops the trailer section from the front of `buffer`; false if its end has not arrived.
fn skip_trailers(buffer: &mut BytesMut) -> Result<bool, BadBody> {
    let window = buffer.get(..buffer.len().min(MAX_TRAILERS)).unwrap_or_default();
    let parsed = fields::parse_lines(window, 0).map_err(|bad| match bad {
        BadFields::LineEnd => BadBody::ChunkEnd,
        BadFields::Line | BadFields::TooMany => BadBody::Trailer,
    })?;
    let Some((end, lines)) = parsed else {
        return if window.len() == MAX_TRAILERS { Err(BadBody::Trailer) } else { Ok(false) };
    };
    //= RFC 9110 section 6.5.1: no field for framing, routing, authentication, request modifiers or content format
    if lines.iter().any(|line| names::forbidden_in_trailer(line.name(window))) {
        return Err(BadBody::TrailerForbidden);
    }
    let _ = buffer.split_to(end);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All content of `wire`, fed in pieces of the given sizes (then the rest), and what was left over.
    fn decode_in_pieces(
        length: BodyLength,
        max: u64,
        wire: &[u8],
        pieces: &[usize],
    ) -> Result<(Vec<u8>, Vec<u8>), BadBody> {
        let mut decoder = BodyDecoder::new(length, max);
        let mut buffer = BytesMut::new();
        let mut content = Vec::new();
        let mut rest = wire;
        for size in pieces.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(data) => content.extend_from_slice(&data),
                    Decoded::Wait => break,
                    Decoded::End => return Ok((content, [&buffer[..], rest].concat())),
                }
            }
        }
        decoder.finish().map(|()| (content, buffer.to_vec()))
    }

    fn check(wire: &str, expected: Result<(&str, &str), BadBody>) {
        let seen = decode_in_pieces(BodyLength::Chunked, 64, wire.as_bytes(), &[]);
        let expected =
            expected.map(|(content, left)| (content.as_bytes().to_vec(), left.as_bytes().to_vec()));
        assert_eq!(seen, expected, "{wire:?}");
    }

    #[test]
    fn chunks_are_joined_and_what_follows_stays() {
        check("0\r\n\r\n", Ok(("", "")));
        check("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", Ok(("hello world", "GET")));
        check("A\r\nhelloworld\r\n0\r\n\r\n", Ok(("helloworld", "")));
        check("0000000000000005\r\nhello\r\n000\r\n\r\n", Ok(("hello", "")));
        check("5;ext=value;flag\r\nhello\r\n0;last\r\n\r\n", Ok(("hello", "")));
        check("5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\nrest", Ok(("hello", "rest")));
    }

    #[test]
    fn chunked_framing_is_exact() {
        use BadBody::{
            ChunkEnd, ChunkExtension, ChunkSize, TooLong, Trailer, TrailerForbidden, Truncated,
        };
        let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
        let many_extensions =
            format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(100)).repeat(11));
        let long_trailer = format!("0\r\nX: {}\r\n\r\n", "a".repeat(5000));
        let table = [
            (
                ChunkSize,
                &[
                    "\r\n",
                    "+5\r\nhello\r\n",
                    "-1\r\n",
                    "0x5\r\nhello\r\n",
                    "1_0\r\n",
                    " 5\r\nhello\r\n",
                    "5 \r\nhello\r\n",
                    "g\r\n",
                    "5\r;\r\n",
                    "00000000000000005\r\nhello",
                    "10000000000000000\r\n",
                    "5\t\r\nhello",
                    "5\0\r\n",
                    "5,\r\n",
                    "5\r\r\n",
                ][..],
            ),
            (
                ChunkExtension,
                &[
                    "5;\r\nhello",
                    "5;a=\r\nhello",
                    "5;a\x00b\r\n",
                    "5;a\x0b\r\n",
                    "5;a\rb\r\n",
                    "5;a=\"b\"\r\n",
                    "5; a\r\n",
                    "5;a;;b\r\n",
                    &long_extension,
                    &many_extensions,
                ],
            ),
            (
                ChunkEnd,
                &[
                    "5\nhello\r\n",
                    "5\r\nhello\n0\r\n\r\n",
                    "5\r\nhello\r0\r\n",
                    "5\r\nhello0\r\n\r\n",
                    "5\r\nhello!!\r\n",
                    "5;a\nhello",
                    "0\r\n\n",
                    "0\r\nA: b\n\r\n",
                ],
            ),
            (
                Trailer,
                &[
                    "0\r\nnothing\r\n\r\n",
                    "0\r\nA : b\r\n\r\n",
                    "0\r\n A: b\r\n\r\n",
                    &long_trailer,
                ],
            ),
            (
                TrailerForbidden,
                &[
                    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
                    "0\r\ncontent-length: 5\r\n\r\n",
                    "0\r\nHost: a\r\n\r\n",
                    "0\r\nAuthorization: x\r\n\r\n",
                    "0\r\nContent-Type: a\r\n\r\n",
                    "0\r\nDPoP: x\r\n\r\n",
                    "0\r\nContent_Length: 1\r\n\r\n",
                ],
            ),
            (TooLong, &["41\r\n", "FFFFFFFFFFFFFFFF\r\n", "ffffffffffffffff\r\nx"]),
            (
                Truncated,
                &["", "5", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\nA: b\r\n"],
            ),
        ];
        for (reason, wires) in table {
            for wire in wires {
                check(wire, Err(reason));
            }
        }
    }

    #[test]
    fn fixed_content_ends_where_its_length_says() {
        let decode = |length, max, wire: &[u8]| decode_in_pieces(length, max, wire, &[]);
        assert_eq!(
            decode(BodyLength::Exact(5), 5, b"helloGET"),
            Ok((b"hello".to_vec(), b"GET".to_vec()))
        );
        assert_eq!(decode(BodyLength::Exact(5), 5, b"hell"), Err(BadBody::Truncated));
        assert_eq!(decode(BodyLength::Exact(5), 4, b""), Err(BadBody::TooLong));
        assert_eq!(decode(BodyLength::Empty, 4, b"GET"), Ok((vec![], b"GET".to_vec())));
        assert_eq!(decode(BodyLength::UntilClose, 5, b"hello"), Ok((b"hello".to_vec(), vec![])));
        assert_eq!(decode(BodyLength::UntilClose, 4, b"hello"), Err(BadBody::TooLong));
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            wire in prop_oneof![
                "([0-6][;a=]{0,2}\r\n[a-c]{0,6}\r\n){0,3}0\r\n(X: y\r\n)?\r\n",
                "[0-9a-f;\r\n]{0,24}",
            ],
            pieces in prop::collection::vec(0_usize..4, 0..24),
            length in prop_oneof![Just(BodyLength::Chunked), (1_u64..12).prop_map(BodyLength::Exact), Just(BodyLength::UntilClose)],
        ) {
            let whole = decode_in_pieces(length, 9, wire.as_bytes(), &[]);
            prop_assert_eq!(whole, decode_in_pieces(length, 9, wire.as_bytes(), &pieces));
        }
    }
}
