//! The topics a group of consumers is subscribed to, as far as its members' metadata tells.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use wire::{Message, Reader};

use super::ClassicGroup;

impl ClassicGroup {
    pub(super) fn refresh_subscription(&mut self) {
        self.subscribed_topics = self.subscription().map(Arc::new);
    }

    fn subscription(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed(member.metadata(protocol))?);
        }
        Some(topics)
    }
}

/// Every version of a subscription begins with the first one, so the first is enough.
fn subscribed(metadata: Bytes) -> Option<Vec<String>> {
    metadata.first_chunk::<2>()?;
    let mut reader = Reader::new(metadata.slice(2..));
    let subscription = wire::ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?;
    Some(subscription.topics)
}
