//! Topic names: which are legal, which are internal, which collide.

pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
pub const TRANSACTION_STATE: &str = "__transaction_state";
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

pub const MAX_NAME_LENGTH: usize = 249;

/// Why a topic name is refused. The messages follow Kafka's, as clients show them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    #[error(
        "Topic name is invalid: the length of '{}' is longer than the max allowed length 249",
        shown(.0)
    )]
    TooLong(String),
    #[error(
        "Topic name is invalid: '{}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        shown(.0)
    )]
    IllegalCharacter(String),
}

/// A name in a message is cut short: a client may send 32 KiB of it.
fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(MAX_NAME_LENGTH + 1).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

pub fn validate_topic_name(name: &str) -> Result<(), TopicNameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err(TopicNameError::Empty)
    } else if name == "." || name == ".." {
        Err(TopicNameError::Dots(name.to_owned()))
    } else if name.encode_utf16().count() > MAX_NAME_LENGTH {
        Err(TopicNameError::TooLong(shown(name).to_owned()))
    } else if !name.bytes().all(legal) {
        Err(TopicNameError::IllegalCharacter(name.to_owned()))
    } else {
        Ok(())
    }
}

/// Topics that belong to the broker itself; clients cannot write to them with every API.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Equal keys collide: in metric names '.' and '_' are one character.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

pub fn topic_names_collide(a: &str, b: &str) -> bool {
    collision_key(a) == collision_key(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names() {
        for name in ["a", "...", "my-topic_1.x", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn illegal_names() {
        use TopicNameError::*;
        let refused = |name: &str| validate_topic_name(name).unwrap_err();
        assert_eq!(refused(""), Empty);
        assert_eq!(refused("."), Dots(".".into()));
        assert_eq!(refused(".."), Dots("..".into()));
        assert!(matches!(refused(&"x".repeat(250)), TooLong(_)));
        for name in ["a b", "a/b", "é", "a\0", "a:b"] {
            assert_eq!(refused(name), IllegalCharacter(name.into()));
        }
        let long = refused(&"é".repeat(30_000)).to_string();
        assert!(long.len() < 700, "{}", long.len());
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(topic_names_collide("a.b", "a_b"));
        assert!(topic_names_collide("a.b", "a.b"));
        assert!(!topic_names_collide("a.b", "a-b"));
    }
}
