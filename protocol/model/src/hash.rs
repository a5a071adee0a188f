//! Java's string hash, by which Kafka spreads groups and transactional ids over the partitions of their topics.

/// `String.hashCode()`: over UTF-16 code units, wrapping.
pub fn java_string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The partition of an internal topic that keeps this group or transactional id.
///
/// # Panics
/// If `partitions` is not positive.
pub fn coordinator_partition(key: &str, partitions: i32) -> i32 {
    kafka_abs(java_string_hash(key)) % partitions
}

/// Kafka's `Utils.abs`: the smallest integer, which has no positive twin, becomes 0.
fn kafka_abs(value: i32) -> i32 {
    value.checked_abs().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("hello", 99162322),
            ("polygenelubricants", i32::MIN),
            ("é", 233),
            // Outside the basic plane: two code units, 0xD83D and 0xDE00.
            ("\u{1F600}", 0xD83D * 31 + 0xDE00),
        ] {
            assert_eq!(java_string_hash(text), hash, "{text}");
        }
    }

    #[test]
    fn every_key_has_a_partition() {
        assert_eq!(coordinator_partition("hello", 50), 99162322 % 50);
        assert_eq!(coordinator_partition("polygenelubricants", 50), 0);
        assert_eq!(coordinator_partition("", 50), 0);
    }
}
