//! The structured fields (RFC 9651) that a signature travels in: `Signature-Input`, `Signature` and `Content-Digest`.
//!
//! Strict where the standard is lenient: of a key that stands twice the last would win, and two readers that disagree about that see
//! two different signatures. Here a repeated key refuses the field.

use super::BadSignature;
use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser, StringRef};
use std::borrow::Cow;
use std::convert::Infallible;

/// Longest accepted value of a field, all its lines together; a token may be that long.
const BYTES_MAX: usize = crate::token::BYTES_MAX + 8;

/// Most members of one of these fields. A request comes with one signature of its sender, and with few of others.
const MEMBERS_MAX: usize = 16;

/// Most components that one signature covers, and most parameters it has.
const COVERED_MAX: usize = 32;

/// One member of `Signature-Input`: what one signature covers, and its parameters in their order.
pub(crate) struct Input<'a> {
    pub(crate) label: &'a str,
    pub(crate) covered: Vec<Component<'a>>,
    pub(crate) parameters: Vec<(&'a KeyRef, BareItemFromInput<'a>)>,
}

/// The identifier of a covered component.
pub(crate) struct Component<'a> {
    pub(crate) name: Cow<'a, StringRef>,
    pub(crate) has_parameters: bool,
}

/// A member that the field may not have: a key twice, a value of another type, or too many.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a member that is not accepted")]
pub(crate) struct NotAccepted;

/// The value of a field: its lines in order, trimmed, with `, ` between; `None` if there is no such line.
pub(crate) fn value_of<'a>(
    fields: &[(&str, &'a [u8])],
    name: &str,
) -> Result<Option<Cow<'a, [u8]>>, BadSignature> {
    let lines = fields.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
    joined(lines.map(|(_, value)| *value))
}

//= RFC 9421 section 2.1: strip leading and trailing whitespace from each line, concatenate with a comma and a space
pub(crate) fn joined<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Cow<'a, [u8]>>, BadSignature> {
    let Some(first) = lines.next() else { return Ok(None) };
    let mut value = Cow::Borrowed(first.trim_ascii());
    for line in lines {
        let joined = value.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.trim_ascii());
    }
    let is_short = value.len() <= BYTES_MAX;
    // A line break in a value would end a line of the signature base early. The codec lets none through; this does not rely on it.
    let is_text = value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    if is_short && is_text { Ok(Some(value)) } else { Err(BadSignature::Malformed) }
}

/// Every member of `Signature-Input`.
pub(crate) fn inputs(value: &[u8]) -> Result<Vec<Input<'_>>, BadSignature> {
    let inputs = Parser::new(value).parse_dictionary_with_visitor(Inputs(Vec::new()));
    inputs.map_err(|_| BadSignature::Malformed)
}

/// Every member of a dictionary of byte sequences: `Signature`, `Content-Digest`.
pub(crate) fn byte_sequences(value: &[u8]) -> Result<Vec<(&str, Vec<u8>)>, BadSignature> {
    let members = Parser::new(value).parse_dictionary_with_visitor(ByteSequences(Vec::new()));
    members.map_err(|_| BadSignature::Malformed)
}

struct Inputs<'a>(Vec<Input<'a>>);

impl<'a> DictionaryVisitor<'a> for Inputs<'a> {
    type Out = Vec<Input<'a>>;
    type Error = NotAccepted;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, NotAccepted> {
        let label = key.as_str();
        if self.0.len() == MEMBERS_MAX || self.0.iter().any(|input| input.label == label) {
            return Err(NotAccepted);
        }
        self.0.push(Input {
            label,
            covered: Vec::with_capacity(8),
            parameters: Vec::with_capacity(8),
        });
        self.0.last_mut().ok_or(NotAccepted)
    }

    fn finish(self) -> Result<Vec<Input<'a>>, NotAccepted> {
        Ok(self.0)
    }
}

impl<'a> EntryVisitor<'a> for &mut Input<'a> {
    type Error = NotAccepted;

    fn item(self) -> Result<impl ItemVisitor<'a>, NotAccepted> {
        Err::<Ignored, _>(NotAccepted)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, NotAccepted> {
        Ok(self)
    }
}

impl<'a> InnerListVisitor<'a> for &mut Input<'a> {
    type Error = NotAccepted;

    fn item(&mut self) -> Result<impl ItemVisitor<'a>, NotAccepted> {
        if self.covered.len() == COVERED_MAX {
            Err(NotAccepted)
        } else {
            Ok(Covered(&mut self.covered))
        }
    }

    fn finish(self) -> Result<impl ParameterVisitor<'a>, NotAccepted> {
        Ok(self)
    }
}

impl<'a> ParameterVisitor<'a> for &mut Input<'a> {
    type Out = ();
    type Error = NotAccepted;

    fn parameter(
        &mut self,
        key: &'a KeyRef,
        value: BareItemFromInput<'a>,
    ) -> Result<(), NotAccepted> {
        let is_repeated = self.parameters.iter().any(|(known, _)| *known == key);
        if is_repeated || self.parameters.len() == COVERED_MAX {
            return Err(NotAccepted);
        }
        self.parameters.push((key, value));
        Ok(())
    }

    fn finish(self) -> Result<(), NotAccepted> {
        Ok(())
    }
}

struct Covered<'v, 'a>(&'v mut Vec<Component<'a>>);

impl<'a> ItemVisitor<'a> for Covered<'_, 'a> {
    type Out = ();
    type Error = NotAccepted;

    fn bare_item(
        self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, NotAccepted> {
        //= RFC 9421 section 2: a component identifier is a String item
        let BareItemFromInput::String(name) = item else { return Err(NotAccepted) };
        self.0.push(Component { name, has_parameters: false });
        self.0.last_mut().ok_or(NotAccepted)
    }
}

impl<'a> ParameterVisitor<'a> for &mut Component<'a> {
    type Out = ();
    type Error = Infallible;

    fn parameter(&mut self, _: &'a KeyRef, _: BareItemFromInput<'a>) -> Result<(), Infallible> {
        self.has_parameters = true;
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct ByteSequences<'a>(Vec<(&'a str, Vec<u8>)>);

impl<'a> DictionaryVisitor<'a> for ByteSequences<'a> {
    type Out = Vec<(&'a str, Vec<u8>)>;
    type Error = NotAccepted;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, NotAccepted> {
        let key = key.as_str();
        if self.0.len() == MEMBERS_MAX || self.0.iter().any(|(known, _)| *known == key) {
            return Err(NotAccepted);
        }
        self.0.push((key, Vec::new()));
        let (_, bytes) = self.0.last_mut().ok_or(NotAccepted)?;
        Ok(Bytes(bytes))
    }

    fn finish(self) -> Result<Self::Out, NotAccepted> {
        Ok(self.0)
    }
}

struct Bytes<'v>(&'v mut Vec<u8>);

impl<'a> EntryVisitor<'a> for Bytes<'_> {
    type Error = NotAccepted;

    fn item(self) -> Result<impl ItemVisitor<'a>, NotAccepted> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, NotAccepted> {
        Err::<Ignored, _>(NotAccepted)
    }
}

impl<'a> ItemVisitor<'a> for Bytes<'_> {
    type Out = ();
    type Error = NotAccepted;

    fn bare_item(
        self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = ()>, NotAccepted> {
        let BareItemFromInput::ByteSequence(bytes) = item else { return Err(NotAccepted) };
        *self.0 = bytes;
        Ok(Ignored)
    }
}
