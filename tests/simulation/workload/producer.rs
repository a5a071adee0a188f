//! An idempotent producer: one batch at a time, sent until it is acknowledged.

use std::time::Duration;

use model::ErrorCode;
use ottla::runtime::RandomStream;
use ottla::runtime::sim::START_WALL_MS;
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::produce_response::PartitionProduceResponse;
use wire::{InitProducerIdRequest, ProduceRequest};

use super::{Client, PARTITIONS, TOPIC, partition};
use crate::chance::stream;
use crate::requests::produce;
use crate::wire_client::{BACKOFF, WireClient};

const PRODUCE_VERSION: i16 = 9;
const INIT_VERSION: i16 = 5;

struct Producer {
    client: Client,
    wire: WireClient,
    name: String,
    random: RandomStream,
    id: i64,
    epoch: i16,
    /// How often the power had failed when the id was given.
    id_since: u64,
    sequences: [i32; PARTITIONS as usize],
    next_value: u64,
}

pub async fn run(client: Client, number: u8) {
    let name = char::from(b'a' + number).to_string();
    let mut producer = Producer {
        wire: WireClient::new(&client.world, &name),
        random: stream(client.seed, 10 + number),
        client,
        name,
        id: -1,
        epoch: -1,
        id_since: 0,
        sequences: [0; PARTITIONS as usize],
        next_value: 0,
    };
    producer.begin().await;
    while !producer.client.is_over() {
        let index = producer.random.below(PARTITIONS as u64) as i32;
        let count = 1 + producer.random.below(4);
        let values: Vec<String> =
            (0..count).map(|n| format!("{}-{}", producer.name, producer.next_value + n)).collect();
        producer.next_value += count;
        producer.send(index, &values).await;
        let pause = Duration::from_millis(producer.random.below(40));
        producer.client.world.sleep(pause).await;
    }
}

impl Producer {
    /// Gets an id, and with it fresh sequences.
    async fn begin(&mut self) {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        loop {
            let since = self.client.history.losses();
            let response = self.wire.ask_until_answered(&request, INIT_VERSION).await;
            if response.error_code == 0 {
                if response.producer_id == self.id {
                    self.client.history.violation(format!("producer id {} given twice", self.id));
                }
                (self.id, self.epoch) = (response.producer_id, response.producer_epoch);
                self.id_since = since;
                self.sequences = [0; PARTITIONS as usize];
                self.client.trace.note(format_args!("{} is producer {}", self.name, self.id));
                return;
            }
            let error = ErrorCode::from_code(response.error_code);
            self.client.trace.note(format_args!("{} gets no id: {error:?}", self.name));
            self.client.world.sleep(BACKOFF).await;
        }
    }

    /// Sends until it is acknowledged.
    async fn send(&mut self, index: i32, values: &[String]) {
        loop {
            if self.wire.connect().await {
                let losses = self.client.history.losses();
                let request = self.request(index, values);
                if let Ok(response) = self.wire.ask(&request, PRODUCE_VERSION).await {
                    let answer = &response.responses[0].partition_responses[0];
                    if self.take(index, values, answer, losses).await {
                        return;
                    }
                }
            }
            self.client.world.sleep(BACKOFF).await;
        }
    }

    fn request(&self, index: i32, values: &[String]) -> ProduceRequest {
        let sequence = self.sequences[index as usize];
        let mut batch =
            BatchBuilder::new(Compression::NONE).producer(self.id, self.epoch, sequence);
        for value in values {
            batch.append(START_WALL_MS, None, Some(value.as_bytes()), &[]);
        }
        produce(TOPIC, index, batch)
    }

    /// True where the batch is acknowledged.
    async fn take(
        &mut self,
        index: i32,
        values: &[String],
        answer: &PartitionProduceResponse,
        losses: u64,
    ) -> bool {
        let at = answer.base_offset;
        let history = self.client.history.clone();
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                self.client.trace.note(format_args!("{} at {index}:{at}", values[0]));
                for (offset, value) in (at..).zip(values) {
                    history.seen("acknowledged", &partition(index), offset, value, losses);
                }
                self.sequences[index as usize] += values.len() as i32;
                return true;
            }
            error @ (ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId) => {
                if !history.may_have_lost(self.id_since) {
                    history.violation(format!("{} to {index}: {error:?}", values[0]));
                }
                self.begin().await;
            }
            error if error.retriable() => {
                self.client.trace.note(format_args!("{} to {index}: {error:?}", values[0]));
            }
            error => history.violation(format!("{} to {index}: {error:?}", values[0])),
        }
        false
    }
}
