//! The simulated wires keep TCP's promises, and break as TCP breaks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{ListenOptions, Listener, NetStream, World};

type Notes = Arc<Mutex<Vec<String>>>;

fn lossy(seed: u64) -> Simulation {
    let link = LinkOptions { loss_one_in: 5, window_bytes: 1000, ..LinkOptions::default() };
    Simulation::new(SimOptions { link, ..SimOptions::seed(seed) })
}

async fn listen(world: &World, port: u16) -> Listener {
    world.net().listen("0.0.0.0", port, ListenOptions::default()).await.unwrap()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// Adds a node that answers every connection with what it reads, until the end of it.
fn add_echo(simulation: &mut Simulation) -> NodeIndex {
    simulation.add_node("echo", |life: Life| async move {
        let listener = listen(&life.world, 9092).await;
        while let Ok((stream, _)) = listener.accept().await {
            drop(life.world.spawn(crate::Bulkhead::Network, echo(stream)));
        }
    })
}

async fn echo(mut stream: NetStream) {
    let mut buf = vec![0; 300];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
    stream.shutdown().await.ok();
}

#[test]
fn bytes_arrive_in_order_over_a_lossy_link_and_a_small_window() {
    for seed in 0..20 {
        let mut simulation = lossy(seed);
        add_echo(&mut simulation);
        let received = Arc::new(Mutex::new(Vec::new()));
        let got = received.clone();
        simulation.add_node("client", move |life: Life| {
            let got = got.clone();
            async move {
                let stream = life.world.net().connect("echo", 9092).await.unwrap();
                assert_eq!(stream.peer_addr().unwrap().to_string(), "10.0.0.1:9092");
                let (mut reader, mut writer) = tokio::io::split(stream);
                let sender = life.world.spawn(crate::Bulkhead::Network, async move {
                    writer.write_all(&bytes(20_000)).await.unwrap();
                    writer.shutdown().await.unwrap();
                });
                let mut all = Vec::new();
                reader.read_to_end(&mut all).await.unwrap();
                sender.join().await;
                *got.lock().unwrap() = all;
            }
        });
        let done = || !received.lock().unwrap().is_empty();
        assert!(simulation.run_until(Duration::from_secs(600), done), "seed {seed}");
        assert!(*received.lock().unwrap() == bytes(20_000), "seed {seed}");
    }
}

/// A client that pings once a time unit over one connection after another, and notes how each ended.
fn add_client(simulation: &mut Simulation, notes: &Notes) -> NodeIndex {
    let notes = notes.clone();
    simulation.add_node("client", move |life: Life| {
        let notes = notes.clone();
        async move {
            loop {
                let end = ping_on(&life.world).await.unwrap_err();
                notes.lock().unwrap().push(format!("{:?}", end.kind()));
                life.world.sleep(Duration::from_millis(50)).await;
            }
        }
    })
}

async fn ping_on(world: &World) -> std::io::Result<()> {
    let mut stream = world.net().connect("echo", 9092).await?;
    loop {
        stream.write_all(b"ping").await?;
        let mut buf = [0; 4];
        let read = world.timeout(Duration::from_secs(2), stream.read_exact(&mut buf)).await;
        read.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        world.sleep(Duration::from_millis(20)).await;
    }
}

fn ends_after(fault: impl Fn(NodeIndex, NodeIndex) -> SimFault) -> Vec<String> {
    let mut simulation = Simulation::new(SimOptions::seed(7));
    let echo = add_echo(&mut simulation);
    let notes = Notes::default();
    let client = add_client(&mut simulation, &notes);
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(*notes.lock().unwrap(), [""; 0]);
    simulation.inject(fault(echo, client));
    simulation.run_for(Duration::from_secs(30));
    let ends = notes.lock().unwrap().clone();
    simulation.run_for(Duration::from_secs(5));
    assert_eq!(*notes.lock().unwrap(), ends, "it works again");
    ends
}

#[test]
fn a_killed_peer_resets_and_refuses() {
    let ends = ends_after(|node, _| SimFault::Kill { node, down: Duration::from_millis(500) });
    assert_eq!(ends[0], "ConnectionReset");
    assert!(ends.len() > 3 && ends[1..].iter().all(|end| end == "ConnectionRefused"), "{ends:?}");
}

#[test]
fn a_peer_without_power_is_silent() {
    let ends = ends_after(|node, _| SimFault::PowerLoss { node, down: Duration::from_secs(1) });
    assert_eq!(ends, ["TimedOut"]);
}

#[test]
fn a_short_partition_and_a_pause_only_delay() {
    let lasting = Duration::from_secs(1);
    assert_eq!(ends_after(|from, to| SimFault::Partition { from, to, lasting }), [""; 0]);
    assert_eq!(ends_after(|to, from| SimFault::Partition { from, to, lasting }), [""; 0]);
    assert_eq!(ends_after(|node, _| SimFault::Pause { node, lasting }), [""; 0]);
}

#[test]
fn a_reset_breaks_both_ends() {
    assert_eq!(ends_after(|one, other| SimFault::Reset { one, other }), ["ConnectionReset"]);
}

#[test]
fn names_and_ports() {
    let mut simulation = Simulation::new(SimOptions::seed(3));
    let done = Notes::default();
    let notes = done.clone();
    simulation.add_node("one", move |life: Life| {
        let notes = notes.clone();
        async move {
            let net = life.world.net();
            let first = listen(&life.world, 0).await;
            let port = first.local_addr().unwrap().port();
            let again = net.listen("localhost", port, ListenOptions::default()).await;
            assert_eq!(again.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
            let unknown = net.connect("nowhere", 1).await.err().unwrap();
            assert!(unknown.to_string().contains("nowhere"));
            let mut own = net.connect("127.0.0.1", port).await.unwrap();
            let (mut accepted, _) = first.accept().await.unwrap();
            drop(first);
            drop(listen(&life.world, port).await);
            own.write_all(b"x").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'x');
            drop(own);
            assert_eq!(accepted.read(&mut [0]).await.unwrap(), 0, "a close is an end");
            notes.lock().unwrap().push("done".into());
        }
    });
    simulation.run_for(Duration::from_secs(5));
    assert_eq!(*done.lock().unwrap(), ["done"]);
}
