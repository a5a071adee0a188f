//! What stands around a message: lengths and headers of requests, types and versions of records.

use bytes::Bytes;
use ottla_wire::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ConsumerProtocolSubscription, DecodeError,
    EncodeError, FetchResponse, GroupCoordinatorKey, GroupCoordinatorValue, HeartbeatRequest,
    ListenerKind, Message, MetadataRecord, MetadataRequest, OffsetCommitKey, OffsetCommitValue,
    Part, Reader, Records, Request, TopicRecord, VersionRange, decode_prefixed,
    decode_request_header, decode_response, encode_prefixed, encode_request, encode_response,
    encode_response_within, fetch_response,
};

fn joined(parts: Vec<Part>) -> Bytes {
    let bytes = parts.into_iter().map(|part| match part {
        Part::Bytes(bytes) => bytes,
        Part::External { .. } => panic!("nothing lies elsewhere"),
    });
    bytes.collect::<Vec<_>>().concat().into()
}

#[test]
fn a_request_is_length_header_and_body() {
    let request = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    let old = joined(encode_request(&request, 0, 7, Some("me")).unwrap());
    let expected = b"\0\0\0\x15\0\x0c\0\0\0\0\0\x07\0\x02me\0\x01g\0\0\0\0\0\0";
    assert_eq!(old, &expected[..]);
    // Flexible: tags end the header, but the client id keeps its old length.
    let new = joined(encode_request(&request, 4, 7, Some("me")).unwrap());
    let expected = b"\0\0\0\x16\0\x0c\0\x04\0\0\0\x07\0\x02me\0\x02g\0\0\0\0\x01\0\0";
    assert_eq!(new, &expected[..]);
}

#[test]
fn a_request_header_is_read_in_the_version_that_its_first_fields_imply() {
    let request = MetadataRequest::default();
    for version in [0, 8, 9, 13] {
        let frame = joined(encode_request(&request, version, -3, None).unwrap());
        let mut r = Reader::new(frame.slice(4..));
        let (key, header) = decode_request_header(&mut r).unwrap();
        assert_eq!((key, header.request_api_version), (ApiKey::Metadata, version));
        assert_eq!((header.correlation_id, header.client_id), (-3, None));
        assert_eq!(MetadataRequest::decode(&mut r, version).as_ref(), Ok(&request));
        assert_eq!(r.remaining(), 0);
    }
}

#[test]
fn request_headers_that_cannot_be_are_refused() {
    let cases: [(&[u8], DecodeError); 4] = [
        (b"", DecodeError::UnexpectedEnd { needed: 2, remaining: 0 }),
        (b"\0\x03\0", DecodeError::UnexpectedEnd { needed: 4, remaining: 3 }),
        (b"\0\x04\0\0\0\0\0\0\0\0", DecodeError::UnknownApiKey(4)),
        (b"\xff\xff\0\0\0\0\0\0\0\0", DecodeError::UnknownApiKey(-1)),
    ];
    for (bytes, expected) in cases {
        let result = decode_request_header(&mut Reader::new(Bytes::from_static(bytes)));
        assert_eq!(result, Err(expected));
    }
}

#[test]
fn the_response_to_api_versions_has_the_oldest_header_in_all_versions() {
    for version in 0..=ApiKey::ApiVersions.versions().max {
        assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
    }
    assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
    let frame = joined(encode_response(&ApiVersionsResponse::default(), 3, 5).unwrap());
    assert_eq!(frame, &b"\0\0\0\x0c\0\0\0\x05\0\0\x01\0\0\0\0\0"[..]);
    let answer = decode_response::<ApiVersionsResponse>(frame.slice(4..), 3).unwrap();
    assert_eq!(answer, (5, ApiVersionsResponse::default()));
}

#[test]
fn api_keys_know_what_the_notation_says() {
    assert_eq!(ApiKey::from_code(0), Some(ApiKey::Produce));
    assert_eq!(ApiKey::from_code(94), Some(ApiKey::UnregisterController));
    assert_eq!([4, 7, 95, -1].map(ApiKey::from_code), [None; 4]);
    let kafkas = ApiKey::ALL.iter().filter(|key| (0..95).contains(&key.code()));
    assert_eq!(kafkas.count(), 91);
    assert_eq!(
        [20_000, 20_001].map(ApiKey::from_code),
        [ApiKey::AskDurable, ApiKey::DescribeCauses].map(Some)
    );
    assert_eq!(ApiVersionsRequest::KEY.code(), 18);
    assert_eq!(ApiKey::Vote.listeners(), [ListenerKind::Controller]);
    assert_eq!(ApiKey::Produce.versions(), VersionRange::new(3, 13));
    assert_eq!(ApiKey::Produce.stable_versions(), Some(VersionRange::new(3, 13)));
    let unstable: Vec<_> = ApiKey::ALL.iter().filter(|key| key.latest_version_unstable()).collect();
    assert_eq!(unstable, [&ApiKey::InitProducerId]);
    assert_eq!(ApiKey::InitProducerId.stable_versions(), Some(VersionRange::new(0, 5)));
}

#[test]
fn records_leave_uncopied_as_parts_between_the_bytes_around_them() {
    let held = Bytes::from(vec![7; 1000]);
    let partition =
        |records| fetch_response::PartitionData { records: Some(records), ..Default::default() };
    let partitions = vec![
        partition(Records::Chain(vec![held.slice(..10), held.slice(500..)])),
        partition(Records::External { len: 4096, token: 9 }),
        partition(Records::Bytes(Bytes::new())),
    ];
    let topic = fetch_response::FetchableTopicResponse { partitions, ..Default::default() };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    let parts = encode_response(&response, 13, 1).unwrap();
    let Part::Bytes(first) = &parts[0] else { panic!("the header is at hand") };
    let length = i32::from_be_bytes(first[..4].try_into().unwrap()) as usize;
    assert_eq!(length + 4, parts.iter().map(Part::len).sum::<usize>());
    let shared = |part: &Part, at: usize| matches!(part, Part::Bytes(bytes) if bytes.as_ptr() == held[at..].as_ptr());
    assert!(shared(&parts[1], 0) && shared(&parts[2], 500));
    assert_eq!(parts[4], Part::External { len: 4096, token: 9 });
    assert_eq!(parts.len(), 6);
}

#[test]
fn a_metadata_record_carries_frame_version_type_and_version() {
    let topic_id = model::Uuid::ONE;
    let topic = TopicRecord { name: "foo".into(), topic_id, ..Default::default() };
    let record = MetadataRecord::from(topic);
    assert_eq!((record.record_type(), record.name()), (2, "TopicRecord"));
    let bytes = record.encode(0).unwrap();
    assert_eq!(bytes, &b"\x01\x02\0\x04foo\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0"[..]);
    assert_eq!(MetadataRecord::decode(bytes.clone()), Ok((record, 0)));
    let with = |at: usize, value: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = value;
        MetadataRecord::decode(changed.into()).map(|_| ())
    };
    assert_eq!(with(0, 2), Err(DecodeError::UnsupportedFrameVersion(2)));
    assert_eq!(with(1, 6), Err(DecodeError::UnknownRecordType(6)));
    assert_eq!(
        with(2, 1),
        Err(DecodeError::UnsupportedVersion { name: "TopicRecord", version: 1 })
    );
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        MetadataRecord::decode(longer.into()),
        Err(DecodeError::TrailingBytes { remaining: 1 })
    );
}

#[test]
fn a_coordinators_record_has_its_type_before_the_key_and_its_version_before_the_value() {
    let key = OffsetCommitKey {
        group: "g".into(),
        topic: "t".into(),
        partition: 3,
        ..Default::default()
    };
    let key = GroupCoordinatorKey::from(key);
    let bytes = key.encode().unwrap();
    assert_eq!(bytes, &b"\0\x01\0\x01g\0\x01t\0\0\0\x03"[..]);
    assert_eq!(GroupCoordinatorKey::decode(bytes), Ok(key.clone()));
    let value = GroupCoordinatorValue::from(OffsetCommitValue { offset: 5, ..Default::default() });
    let bytes = value.encode(3).unwrap();
    assert_eq!(bytes[..10], *b"\0\x03\0\0\0\0\0\0\0\x05");
    assert_eq!(GroupCoordinatorValue::decode(key.record_type(), bytes), Ok((value, 3)));
    let unknown = GroupCoordinatorKey::decode(Bytes::from_static(b"\0\x09rest"));
    assert_eq!(unknown, Err(DecodeError::UnknownRecordType(9)));
}

#[test]
fn a_newer_subscription_is_read_as_the_newest_that_is_known() {
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
    let bytes = encode_prefixed(&subscription, 3).unwrap();
    assert_eq!(decode_prefixed(bytes.clone()), Ok((subscription.clone(), 3)));
    let newer = [&[0, 9], &bytes[2..], b"more"].concat();
    assert_eq!(decode_prefixed(newer.into()), Ok((subscription, 9)));
    let older = decode_prefixed::<ConsumerProtocolSubscription>(Bytes::from_static(b"\xff\xff"));
    assert!(matches!(older, Err(DecodeError::UnsupportedVersion { version: -1, .. })));
}

#[test]
fn what_a_version_cannot_hold_is_refused_or_left_out_as_the_notation_says() {
    // Not ignorable: the instance id came with version 3.
    let request = HeartbeatRequest { group_instance_id: Some("i".into()), ..Default::default() };
    let refused = encode_request(&request, 2, 0, None);
    let field = "HeartbeatRequest.GroupInstanceId";
    assert_eq!(refused, Err(EncodeError::NotInVersion { field, version: 2 }));
    assert!(encode_request(&request, 3, 0, None).is_ok());
    // Ignorable: the throttle time of version 1.
    let response = ottla_wire::HeartbeatResponse { throttle_time_ms: 9, ..Default::default() };
    assert_eq!(joined(encode_response(&response, 0, 0).unwrap()).len(), 4 + 4 + 2);
    // Null where it is not allowed.
    let request = MetadataRequest { topics: None, ..Default::default() };
    let field = "MetadataRequest.Topics";
    assert_eq!(
        encode_request(&request, 0, 0, None),
        Err(EncodeError::NullInVersion { field, version: 0 })
    );
    assert!(encode_request(&request, 1, 0, None).is_ok());
    // Tags where there are none.
    let tag = ottla_wire::RawTaggedField { tag: 0, data: Bytes::new() };
    let request =
        HeartbeatRequest { unknown_tagged_fields: vec![tag.clone(), tag], ..Default::default() };
    assert_eq!(
        encode_request(&request, 3, 0, None),
        Err(EncodeError::NoTagsInVersion { version: 3 })
    );
    assert_eq!(encode_request(&request, 4, 0, None), Err(EncodeError::TagOrder { tag: 0 }));
    // A string longer than any length field of a string.
    let request = HeartbeatRequest { group_id: "x".repeat(32768), ..Default::default() };
    assert_eq!(encode_request(&request, 4, 0, None), Err(EncodeError::TooLong { length: 32768 }));
}

#[test]
fn a_response_is_given_up_where_it_copies_more_than_the_limit() {
    let records = |bytes| Some(Records::Bytes(Bytes::from(vec![7; bytes])));
    let partition =
        |bytes| fetch_response::PartitionData { records: records(bytes), ..Default::default() };
    let of = |partitions| {
        let topic = fetch_response::FetchableTopicResponse { partitions, ..Default::default() };
        FetchResponse { responses: vec![topic], ..Default::default() }
    };
    let long = of(vec![partition(100_000)]);
    assert_eq!(encode_response_within(&long, 13, 1, 1000), encode_response(&long, 13, 1));
    let many = of(vec![partition(1); 100]);
    let beyond = Err(EncodeError::BeyondLimit { limit: 1000 });
    assert_eq!(encode_response_within(&many, 13, 1, 1000), beyond);
}
