use std::time::Duration;

use model::{ErrorCode, TopicPartition};
use tokio::sync::oneshot;
use wire::batch::RecordBatch;

use super::accumulator::{Accumulator, Fate};
use super::batch::Batch;
use super::sender::in_doubt;
use super::{Delivered, ProduceError, ProducerConfig, ProducerRecord, Teller};
use crate::error::Refused;

type Told = oneshot::Receiver<Result<Delivered, ProduceError>>;

struct Bench {
    accumulator: Accumulator,
    config: ProducerConfig,
    now: Duration,
}

impl Bench {
    fn new() -> Bench {
        let mut accumulator = Accumulator::default();
        accumulator.set_producer_id(7, 0);
        Bench { accumulator, config: ProducerConfig::default(), now: Duration::ZERO }
    }

    fn append(&mut self, partitions: Option<u32>) -> Told {
        let (answer, told) = oneshot::channel();
        let record = ProducerRecord::to("t").key("k").value("v");
        let teller = Teller { answer, _room: None };
        let at = (self.now, 0);
        self.accumulator.append(&self.config, partitions, record, teller, at, |_| 0);
        told
    }

    /// Lets linger pass; what is due then.
    fn due(&mut self) -> Vec<(TopicPartition, Batch)> {
        self.now += Duration::from_secs(1);
        self.accumulator.due(&self.config, self.now).batches
    }

    fn settle(&mut self, (partition, batch): (TopicPartition, Batch), fate: Fate) {
        self.accumulator.settle(&self.config, &partition, batch, fate, self.now);
    }
}

fn refused(code: ErrorCode) -> ProduceError {
    ProduceError::Refused(Refused::of(code))
}

/// Epoch and sequence under which a batch is sent.
fn stamp(batch: &mut Batch) -> (i16, i32) {
    let bytes = batch.encoded().unwrap();
    let parsed = RecordBatch::parse(&bytes).unwrap();
    parsed.verify_crc().unwrap();
    (parsed.header().producer_epoch, parsed.header().base_sequence)
}

#[test]
fn a_partition_has_one_batch_under_way_and_sequences_go_on() {
    let mut bench = Bench::new();
    let mut told = [bench.append(Some(1)), bench.append(Some(1))];
    let mut first = bench.due().pop().unwrap();
    assert_eq!(stamp(&mut first.1), (0, 0));
    let _waiting = bench.append(Some(1));
    assert!(bench.due().is_empty(), "the first is still under way");
    bench.settle(first, Fate::Delivered(Some(40)));
    let offsets = told.each_mut().map(|told| told.try_recv().unwrap().unwrap().offset);
    assert_eq!(offsets, [Some(40), Some(41)]);
    assert_eq!(stamp(&mut bench.due().pop().unwrap().1), (0, 2));
}

#[test]
fn a_batch_tried_again_keeps_its_sequence_and_goes_first() {
    let mut bench = Bench::new();
    let _told = bench.append(Some(1));
    let mut first = bench.due().pop().unwrap();
    assert_eq!(stamp(&mut first.1), (0, 0));
    let error = refused(ErrorCode::NotLeaderOrFollower);
    let not_before = bench.now + Duration::from_secs(2);
    bench.settle(first, Fate::Again { not_before, in_doubt: true, error });
    assert!(bench.due().is_empty(), "it waits its time");
    bench.now = not_before;
    assert_eq!(stamp(&mut bench.due().pop().unwrap().1), (0, 0));
}

#[test]
fn what_was_refused_for_certain_uses_no_sequence() {
    let mut bench = Bench::new();
    let mut told = bench.append(Some(1));
    let first = bench.due().pop().unwrap();
    bench.settle(
        first,
        Fate::Failed { in_doubt: false, error: refused(ErrorCode::MessageTooLarge) },
    );
    assert_eq!(told.try_recv().unwrap(), Err(refused(ErrorCode::MessageTooLarge)));
    let _told = bench.append(Some(1));
    assert_eq!(stamp(&mut bench.due().pop().unwrap().1), (0, 0));
}

#[test]
fn after_a_failure_in_doubt_a_new_epoch_begins() {
    let mut bench = Bench::new();
    let mut told = bench.append(Some(1));
    let first = bench.due().pop().unwrap();
    bench.now += bench.config.delivery_timeout;
    let error = refused(ErrorCode::RequestTimedOut);
    let not_before = bench.now;
    bench.settle(first, Fate::Again { not_before, in_doubt: true, error });
    assert!(matches!(told.try_recv().unwrap(), Err(ProduceError::TimedOut(_))));
    let _told = bench.append(Some(1));
    assert_eq!(stamp(&mut bench.due().pop().unwrap().1), (1, 0));
}

/// Its sequence would be another batch's, which the broker would take for this one.
#[test]
fn what_is_given_up_in_doubt_ends_its_epoch_however_that_comes() {
    fn wait(bench: &mut Bench, batch: (TopicPartition, Batch)) {
        let code = ErrorCode::NotLeaderOrFollower;
        let (not_before, error) = (bench.now, refused(code));
        bench.settle(batch, Fate::Again { not_before, in_doubt: in_doubt(code), error });
    }
    type GivesUp = fn(&mut Bench, (TopicPartition, Batch));
    let ways: [GivesUp; 3] = [
        |bench, batch| {
            let code = ErrorCode::UnknownServerError;
            bench.settle(batch, Fate::Failed { in_doubt: in_doubt(code), error: refused(code) });
        },
        |bench, batch| {
            wait(bench, batch);
            bench.now += bench.config.delivery_timeout;
            bench.accumulator.expire(&bench.config, bench.now);
        },
        |bench, batch| {
            wait(bench, batch);
            bench.accumulator.fail_waiting(&refused(ErrorCode::ClusterAuthorizationFailed));
        },
    ];
    for give_up in ways {
        let mut bench = Bench::new();
        let mut told = bench.append(Some(1));
        let batch = bench.due().pop().unwrap();
        give_up(&mut bench, batch);
        assert!(told.try_recv().unwrap().is_err());
        let _told = bench.append(Some(1));
        assert_eq!(stamp(&mut bench.due().pop().unwrap().1), (1, 0));
    }
}

#[test]
fn only_what_is_refused_before_it_is_written_is_not_in_doubt() {
    use ErrorCode::*;
    for code in [NotLeaderOrFollower, KafkaStorageError, RequestTimedOut, UnknownServerError] {
        assert!(in_doubt(code), "{code:?}");
    }
    for code in [NotEnoughReplicas, CorruptMessage, UnknownTopicId, MessageTooLarge, InvalidRecord]
    {
        assert!(!in_doubt(code), "{code:?}");
    }
}

#[test]
fn a_producer_that_the_broker_forgot_begins_anew_with_the_same_batch() {
    let mut bench = Bench::new();
    let mut told = bench.append(Some(1));
    let mut first = bench.due().pop().unwrap();
    assert_eq!(stamp(&mut first.1), (0, 0));
    bench.settle(first, Fate::Anew { error: refused(ErrorCode::OutOfOrderSequenceNumber) });
    let mut again = bench.due().pop().unwrap();
    assert_eq!(stamp(&mut again.1), (1, 0));
    bench.settle(again, Fate::Delivered(Some(3)));
    assert_eq!(told.try_recv().unwrap().unwrap().offset, Some(3));
}

#[test]
fn records_of_an_unknown_topic_wait_and_closing_tells_all() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (bench.append(None), bench.append(Some(1)));
    assert!(bench.due().is_empty(), "the second must not overtake the first");
    bench.accumulator.resolved(&bench.config, "t", Ok(1), 0, |_| 0);
    assert_eq!(bench.due().len(), 1);
    let mut three = bench.append(Some(1));
    bench.accumulator.close();
    assert!(three.try_recv().unwrap() == Err(ProduceError::Closed));
    assert!(one.try_recv().is_err() && two.try_recv().is_err(), "theirs is under way");
}
