//! Kafka's uuids: 16 bytes, written as 22 characters of base64url without padding.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic id, directory id, incarnation id or cluster id. Ordered as unsigned bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// The text is not a uuid as Kafka writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a uuid: 22 characters of base64url are expected")]
pub struct ParseUuidError(pub String);

impl Uuid {
    /// Means "none".
    pub const ZERO: Uuid = Uuid([0; 16]);
    pub const ONE: Uuid = Uuid::from_u128(1);
    /// The topic id of `__cluster_metadata`.
    pub const METADATA_TOPIC_ID: Uuid = Uuid::ONE;
    /// The directory of a replica made by a release that knew no directory ids.
    pub const MIGRATING_DIRECTORY: Uuid = Uuid::ZERO;
    /// The directory of a replica that has no log directory yet.
    pub const UNASSIGNED_DIRECTORY: Uuid = Uuid::from_u128(1);
    /// The directory of a replica whose log directory failed.
    pub const LOST_DIRECTORY: Uuid = Uuid::from_u128(2);

    pub const fn from_u128(value: u128) -> Uuid {
        Uuid(value.to_be_bytes())
    }

    pub const fn to_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    pub const fn is_zero(self) -> bool {
        self.to_u128() == 0
    }

    /// Whether Kafka sets this id apart: the first hundred name no log directory, the first two no topic either.
    pub const fn is_reserved_directory(self) -> bool {
        self.to_u128() < 100
    }

    /// A version 4 uuid from random bytes. As in Kafka its text holds no dash, which would read as an option on a
    /// command line; the version bits keep it off the reserved ids.
    pub fn random(bytes: [u8; 16]) -> Uuid {
        let mut uuid = Uuid(bytes);
        uuid.0[6] = uuid.0[6] & 0x0f | 0x40;
        uuid.0[8] = uuid.0[8] & 0x3f | 0x80;
        let mut value = uuid.to_u128();
        for digit in 0..DIGITS {
            if ALPHABET[digit_at(value, digit)] == b'-' {
                // The top bit of a digit that reads as a dash is never one of the version's or the variant's.
                value &= !(1 << (127 - 6 * digit));
            }
        }
        Uuid::from_u128(value)
    }
}

const DIGITS: usize = 22;

/// The six bits of the digit at this place; the last digit has only two, followed by zeros.
fn digit_at(value: u128, digit: usize) -> usize {
    let bits = match digit {
        21 => value << 4,
        _ => value >> (122 - 6 * digit),
    };
    (bits & 0x3f) as usize
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_u128();
        let text: String =
            (0..DIGITS).map(|digit| char::from(ALPHABET[digit_at(value, digit)])).collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let refused = || ParseUuidError(text.chars().take(40).collect());
        let digits = text.strip_suffix("==").unwrap_or(text);
        if digits.len() != DIGITS {
            return Err(refused());
        }
        let mut value: u128 = 0;
        for (place, byte) in digits.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|d| *d == byte).ok_or_else(refused)? as u128;
            value = if place == DIGITS - 1 { value << 2 | digit >> 4 } else { value << 6 | digit };
        }
        Ok(Uuid::from_u128(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::METADATA_TOPIC_ID.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(Uuid::ONE));
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAg==".parse(), Ok(Uuid::LOST_DIRECTORY));
        // Kafka's own documentation formats a cluster with this one.
        let id: Uuid = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        assert_eq!(&id.0, b"2E78EA57052D436B");
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "é3456789012345678901",
        ] {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            let uuid = Uuid(bytes);
            proptest::prop_assert_eq!(uuid.to_string().parse(), Ok(uuid));
        }

        #[test]
        fn random_ones_are_version_4_and_hold_no_dash(bytes: [u8; 16]) {
            let uuid = Uuid::random(bytes);
            proptest::prop_assert!(!uuid.to_string().contains('-'));
            proptest::prop_assert_eq!(uuid.0[6] >> 4, 4);
            proptest::prop_assert_eq!(uuid.0[8] >> 6, 2);
            proptest::prop_assert!(!uuid.is_reserved_directory());
        }

        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<Uuid>();
        }
    }

    #[test]
    fn dashes_are_cleared_where_every_digit_is_one() {
        let dashes: u128 = (0..21).fold(0, |bits, digit| bits | 0b111110 << (122 - 6 * digit));
        assert!(Uuid::from_u128(dashes).to_string().starts_with("---------------------"));
        assert!(!Uuid::random(dashes.to_be_bytes()).to_string().contains('-'));
    }
}
