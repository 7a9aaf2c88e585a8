//! Ids: a short prefix and a UUIDv7 in Crockford base32, 26 characters. All kinds are registered in this one file.

use crate::UnixMicros;
use std::fmt;
use std::str::FromStr;

/// Text that is not an id of the wanted kind; the one who typed or sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId {
    /// The prefix that was wanted, such as `int_`.
    pub wanted: &'static str,
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an id of the form `{}` and 26 characters of Crockford base32", self.wanted)
    }
}

impl std::error::Error for NotAnId {}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The text before the base32 part.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id: UUIDv7 (RFC 9562 section 5.7) of `now` and ten random bytes, of which 74 bits are used.
            pub fn new(now: UnixMicros, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }

            /// When it was made, to the millisecond: the first 48 bits (RFC 9562 section 5.7).
            pub const fn made(&self) -> UnixMicros {
                let [a, b, c, d, e, f, ..] = self.0;
                UnixMicros(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) * 1_000)
            }

            /// An id read back from where its 16 bytes were stored.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes of the UUID, big-endian.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_base32(f, u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let wrong = NotAnId { wanted: $prefix };
                let value = text.strip_prefix($prefix).and_then(read_base32).ok_or(wrong)?;
                Ok(Self(value.to_be_bytes()))
            }
        }
    )*};
}

ids! {
    /// What a subject allowed an integration.
    ConsentId "cns_",
    /// A key or certificate an integration proves itself with.
    CredentialId "crd_",
    /// What an operator allowed an integration.
    GrantId "grt_",
    /// An incident.
    IncidentId "inc_",
    /// A vendor's software; in OAuth text, the client.
    IntegrationId "int_",
    /// One of our customer's staff.
    OperatorId "opr_",
    /// One request on the data path.
    RequestId "req_",
    /// A legal entity that owns integrations.
    VendorId "ven_",
    /// A declared change window.
    WindowId "win_",
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn uuid_v7(now: UnixMicros, random: [u8; 10]) -> [u8; 16] {
    let millis = (now.0 / 1_000).to_be_bytes();
    let [_, _, m0, m1, m2, m3, m4, m5] = millis;
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9] = random;
    [m0, m1, m2, m3, m4, m5, 0x70 | (r0 & 0x0f), r1, 0x80 | (r2 & 0x3f), r3, r4, r5, r6, r7, r8, r9]
}

fn write_base32(f: &mut fmt::Formatter<'_>, value: u128) -> fmt::Result {
    for place in (0..26).rev() {
        let digit = usize::try_from((value >> (place * 5)) & 31).unwrap_or(0);
        let letter = ALPHABET.get(digit).copied().unwrap_or(b'0');
        fmt::Write::write_char(f, char::from(letter))?;
    }
    Ok(())
}

/// Lower case only, so that one id has one spelling; Crockford's aliases (`i`, `l`, `o`) are refused for the same reason.
fn read_base32(text: &str) -> Option<u128> {
    if text.len() != 26 {
        return None;
    }
    let mut value: u128 = 0;
    for letter in text.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == letter)?;
        // Multiplying, not shifting, so that a first digit above 7 overflows and is refused.
        value = value.checked_mul(32)?.checked_add(u128::try_from(digit).ok()?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_another_kind_or_spelling_are_refused() {
        let id = IntegrationId::from_bytes([7; 16]);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.to_uppercase().parse::<IntegrationId>().is_err());
        assert!(text.replace("int_", "ven_").parse::<IntegrationId>().is_err());
        assert!(
            "int_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<IntegrationId>().is_err(),
            "more than 128 bits"
        );
    }

    #[test]
    fn version_and_variant_are_those_of_uuid_v7() {
        let id = RequestId::new(UnixMicros(1_700_000_000_123_456), [0xff; 10]);
        let bytes = id.as_bytes();
        assert_eq!(
            u64::from_be_bytes([0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]),
            1_700_000_000_123
        );
        assert_eq!(id.made(), UnixMicros(1_700_000_000_123_000));
        assert_eq!(bytes[6] >> 4, 7);
        assert_eq!(bytes[8] >> 6, 0b10);
    }

    proptest! {
        #[test]
        fn ids_survive_printing(bytes: [u8; 16]) {
            let id = GrantId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
