//! DeleteTopics, by name or by id.

use std::collections::{BTreeMap, BTreeSet};

use model::{ErrorCode, Uuid};
use wire::delete_topics_response::DeletableTopicResult;
use wire::{DeleteTopicsRequest, DeleteTopicsResponse, MetadataRecord, RemoveTopicRecord};

use super::Controller;
use super::request::Permitted;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    #[error("This version does not support topic deletion.")]
    DisabledForOldVersion,
    #[error("topic deletion is disabled")]
    Disabled,
    #[error("Neither topic name nor id were specified.")]
    Neither,
    #[error("You may not specify both topic name and topic id.")]
    Both,
    #[error("Duplicate topic name.")]
    DuplicateName,
    #[error("Duplicate topic id.")]
    DuplicateId,
    #[error("The provided topic name maps to an ID that was already supplied.")]
    NameOfGivenId,
    #[error("{}", ErrorCode::UnknownTopicOrPartition.message())]
    UnknownName,
    #[error("{}", ErrorCode::UnknownTopicId.message())]
    UnknownId,
    #[error("{}", ErrorCode::TopicAuthorizationFailed.message())]
    NotAuthorized,
}

impl DeleteTopicError {
    pub fn code(self) -> ErrorCode {
        match self {
            DeleteTopicError::DisabledForOldVersion
            | DeleteTopicError::Neither
            | DeleteTopicError::Both
            | DeleteTopicError::DuplicateName
            | DeleteTopicError::DuplicateId
            | DeleteTopicError::NameOfGivenId => ErrorCode::InvalidRequest,
            DeleteTopicError::Disabled => ErrorCode::TopicDeletionDisabled,
            DeleteTopicError::UnknownName => ErrorCode::UnknownTopicOrPartition,
            DeleteTopicError::UnknownId => ErrorCode::UnknownTopicId,
            DeleteTopicError::NotAuthorized => ErrorCode::TopicAuthorizationFailed,
        }
    }

    fn message(self) -> Option<String> {
        (self != DeleteTopicError::Disabled).then(|| self.to_string())
    }
}

/// How the request names a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name(String),
    Id(Uuid),
}

const FIRST_THAT_KNOWS_DISABLED: i16 = 3;

impl Controller {
    pub(super) fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        version: i16,
        may_describe: &Permitted,
        may_delete: &Permitted,
    ) -> (Vec<MetadataRecord>, DeleteTopicsResponse) {
        if !self.values.boolean("delete.topic.enable") {
            return (
                Vec::new(),
                DeleteTopicsResponse {
                    responses: all_disabled(request, version),
                    ..Default::default()
                },
            );
        }
        let mut responses = Vec::new();
        let mut named: BTreeMap<Key, usize> = BTreeMap::new();
        for name in &request.topic_names {
            *named.entry(Key::Name(name.clone())).or_default() += 1;
        }
        for topic in &request.topics {
            let key = match &topic.name {
                None if topic.topic_id.is_zero() => {
                    responses.push(result(None, Uuid::ZERO, Err(DeleteTopicError::Neither)));
                    continue;
                }
                None => Key::Id(topic.topic_id),
                Some(name) if topic.topic_id.is_zero() => Key::Name(name.clone()),
                Some(name) => {
                    responses.push(result(Some(name), topic.topic_id, Err(DeleteTopicError::Both)));
                    continue;
                }
            };
            *named.entry(key).or_default() += 1;
        }
        let mut chosen: BTreeSet<Uuid> = BTreeSet::new();
        // Ids stand first, so that a name of a topic whose id was given, too, is what is refused.
        for key in named.keys().rev() {
            responses.push(self.delete_topic(key, &named, may_describe, may_delete, &mut chosen));
        }
        let twice = |r: &DeletableTopicResult| r.error_code == 0 && !chosen.contains(&r.topic_id);
        responses.retain(|response| !twice(response));
        let records = chosen.into_iter().map(|topic_id| {
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id, ..Default::default() })
        });
        (records.collect(), DeleteTopicsResponse { responses, ..Default::default() })
    }

    fn delete_topic(
        &self,
        key: &Key,
        named: &BTreeMap<Key, usize>,
        may_describe: &Permitted,
        may_delete: &Permitted,
        chosen: &mut BTreeSet<Uuid>,
    ) -> DeletableTopicResult {
        let twice = |key: &Key| named.get(key).is_some_and(|count| *count > 1);
        match key {
            Key::Id(id) if twice(key) => result(None, *id, Err(DeleteTopicError::DuplicateId)),
            Key::Name(name) if twice(key) => {
                result(Some(name), Uuid::ZERO, Err(DeleteTopicError::DuplicateName))
            }
            Key::Id(id) => match self.image().topics.by_id(*id) {
                None => result(None, *id, Err(DeleteTopicError::UnknownId)),
                Some(topic) if !may_delete.allows(&topic.name) => {
                    // The name is told to those alone who may see it.
                    let name = may_describe.allows(&topic.name).then_some(topic.name.as_str());
                    result(name, *id, Err(DeleteTopicError::NotAuthorized))
                }
                Some(topic) => {
                    chosen.insert(*id);
                    result(Some(&topic.name), *id, Ok(()))
                }
            },
            Key::Name(name) => {
                let refused = |error| result(Some(name), Uuid::ZERO, Err(error));
                match self.image().topics.id_of(name) {
                    _ if !may_describe.allows(name) => refused(DeleteTopicError::NotAuthorized),
                    None => refused(DeleteTopicError::UnknownName),
                    Some(_) if !may_delete.allows(name) => refused(DeleteTopicError::NotAuthorized),
                    Some(id) if chosen.remove(&id) || twice(&Key::Id(id)) => {
                        result(Some(name), id, Err(DeleteTopicError::NameOfGivenId))
                    }
                    Some(id) => {
                        chosen.insert(id);
                        result(Some(name), id, Ok(()))
                    }
                }
            }
        }
    }
}

fn result(
    name: Option<&str>,
    topic_id: Uuid,
    outcome: Result<(), DeleteTopicError>,
) -> DeletableTopicResult {
    DeletableTopicResult {
        name: name.map(str::to_owned),
        topic_id,
        error_code: outcome.err().map_or(ErrorCode::None, DeleteTopicError::code).code(),
        error_message: outcome.err().and_then(DeleteTopicError::message),
        ..Default::default()
    }
}

fn all_disabled(request: &DeleteTopicsRequest, version: i16) -> Vec<DeletableTopicResult> {
    let error = if version < FIRST_THAT_KNOWS_DISABLED {
        DeleteTopicError::DisabledForOldVersion
    } else {
        DeleteTopicError::Disabled
    };
    let by_name = request.topic_names.iter().map(|name| result(Some(name), Uuid::ZERO, Err(error)));
    let by_either =
        request.topics.iter().map(|t| result(t.name.as_deref(), t.topic_id, Err(error)));
    by_name.chain(by_either).collect()
}
