//! Brokers that take connections and say nothing: what a client does with a limit of time ends within it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::TopicPartition;
use ottla::client::{
    Client, Consumer, ConsumerConfig, ProduceError, Producer, ProducerConfig, ProducerRecord, Start,
};
use ottla::runtime::sim::{Life, SimFault, SimOptions, Simulation};
use ottla::runtime::{ListenOptions, World};

use crate::broker;

const TOPIC: &str = "t";
/// Less than any one request may take.
const DELIVERY: Duration = Duration::from_secs(7);
const POLL: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(600);

fn producer(client: &Client) -> Producer {
    client.producer(ProducerConfig { delivery_timeout: DELIVERY, ..ProducerConfig::default() })
}

fn consumer(client: &Client) -> Consumer {
    let mut consumer = client.consumer(ConsumerConfig::default());
    let partition = TopicPartition { topic: TOPIC.into(), partition: 0 };
    consumer.assign(partition, Start::Earliest);
    consumer
}

fn record() -> ProducerRecord {
    ProducerRecord::to(TOPIC).partition(0).value("v")
}

async fn assert_nothing_in_time(world: &World, producer: &Producer, consumer: &mut Consumer) {
    let begun = world.mono();
    let delivery = producer.send(record()).await;
    let records = consumer.poll(POLL).await.expect("no error");
    let polled = world.mono() - begun;
    assert!(records.is_empty() && (POLL..POLL + SLACK).contains(&polled), "{polled:?}");
    producer.flush().await;
    let flushed = world.mono() - begun;
    assert!((DELIVERY..DELIVERY + SLACK).contains(&flushed), "{flushed:?}");
    let told = delivery.await;
    assert!(matches!(told, Err(ProduceError::TimedOut(_))), "{told:?}");
}

#[test]
fn a_client_that_is_never_answered_waits_no_longer_than_it_may() {
    let mut simulation = Simulation::new(SimOptions::seed(21));
    simulation.add_node(broker::NAME, |life: Life| async move {
        let net = life.world.net();
        let listener = net.listen(broker::NAME, broker::PORT, ListenOptions::default()).await;
        let (listener, mut held) = (listener.expect("a port"), Vec::new());
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    let done = Arc::new(AtomicBool::new(false));
    let ended = done.clone();
    simulation.add_node("client", move |life: Life| {
        let ended = ended.clone();
        async move {
            let address = format!("{}:{}", broker::NAME, broker::PORT);
            let client = Client::new(&life.world, [address]).expect("an address");
            let (producer, mut consumer) = (producer(&client), consumer(&client));
            for _ in 0..2 {
                assert_nothing_in_time(&life.world, &producer, &mut consumer).await;
            }
            ended.store(true, Ordering::Relaxed);
        }
    });
    assert!(simulation.run_until(LIMIT, || done.load(Ordering::Relaxed)), "the client waits");
}

/// With requests under way, and by a producer that has to ask for its id first.
#[test]
fn a_client_whose_broker_falls_silent_waits_no_longer_than_it_may() {
    let mut simulation = Simulation::new(SimOptions::seed(22));
    let silent = simulation.add_node(broker::NAME, |life: Life| async move {
        broker::serve(life, Arc::default()).await
    });
    let [served, done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (told, ended) = (served.clone(), done.clone());
    simulation.add_node("client", move |life: Life| {
        let (told, ended) = (told.clone(), ended.clone());
        async move {
            let address = format!("{}:{}", broker::NAME, broker::PORT);
            let client = Client::new(&life.world, [address]).expect("an address");
            let (first, mut reader) = (producer(&client), consumer(&client));
            while first.send(record()).await.await.is_err() {}
            while reader.poll(POLL).await.expect("no error").is_empty() {}
            told.store(true, Ordering::Relaxed);
            life.world.sleep(POLL).await;
            assert_nothing_in_time(&life.world, &first, &mut reader).await;
            let (second, mut reader) = (producer(&client), consumer(&client));
            assert_nothing_in_time(&life.world, &second, &mut reader).await;
            ended.store(true, Ordering::Relaxed);
        }
    });
    assert!(simulation.run_until(LIMIT, || served.load(Ordering::Relaxed)), "it is served");
    simulation.inject(SimFault::Pause { node: silent, lasting: LIMIT });
    assert!(simulation.run_until(LIMIT, || done.load(Ordering::Relaxed)), "the client waits");
}
