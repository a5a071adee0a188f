//! What the APIs of groups have in common.

use std::net::IpAddr;
use std::sync::Arc;

use machines::groups::{ClientContext, Kept};
use machines::metadata::MetadataImage;
use model::ErrorCode;
use runtime::Map;

use super::RequestContext;
use crate::Broker;

/// Bits by the codes of operations: read, delete, describe, describe and alter configurations.
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// Who asks, as the coordinator writes it down and tells others.
pub(super) fn client(cx: &RequestContext) -> ClientContext {
    ClientContext {
        client_id: cx.client_id.clone().unwrap_or_default(),
        client_host: format!("/{}", java_address(cx.connection.peer.ip())),
    }
}

/// Java abbreviates no zeros.
fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

/// Memory for what a member brings, which is kept as long as its group keeps that; `None` where there is none left.
pub(super) fn memory_of_members(broker: &Broker, bytes: usize) -> Option<Kept> {
    let credit = broker.members_memory.try_take(u32::try_from(bytes).unwrap_or(u32::MAX))?;
    Some(Kept::new(Arc::new(credit)))
}

/// A coordinator answers each request in its own kind; this is for one that would not.
pub(super) fn other_reply() -> i16 {
    ErrorCode::UnknownServerError.code()
}

pub(super) fn exists(image: &MetadataImage, topic: &str, partition: i32) -> bool {
    image.topics.by_name(topic).is_some_and(|topic| topic.partition(partition).is_some())
}

/// One entry for each topic, what was refused before the coordinator was asked first.
pub(super) fn merge<T>(
    refused: Vec<T>,
    answered: Vec<T>,
    name: impl Fn(&T) -> &str,
    join: impl Fn(&mut T, T),
) -> Vec<T> {
    let places = refused.iter().enumerate().map(|(place, topic)| (name(topic).to_owned(), place));
    let places: Map<String, usize> = places.collect();
    let mut topics = refused;
    for topic in answered {
        match places.get(name(&topic)) {
            Some(place) => join(&mut topics[*place], topic),
            None => topics.push(topic),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_java_does() {
        let written = |address: &str| java_address(address.parse().unwrap());
        assert_eq!(written("127.0.0.1"), "127.0.0.1");
        assert_eq!(written("::1"), "0:0:0:0:0:0:0:1");
        assert_eq!(written("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
