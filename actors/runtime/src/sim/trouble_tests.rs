//! Links, disks and processes in trouble, and plans that are made smaller.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{Bulkhead, ListenOptions, NetStream};

type Notes = Arc<Mutex<Vec<String>>>;

fn note(notes: &Notes, what: impl Into<String>) {
    notes.lock().unwrap().push(what.into());
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn read_into(mut stream: NetStream, notes: Notes) {
    let mut buf = [0; 16];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        note(&notes, String::from_utf8_lossy(&buf[..n]));
    }
}

/// A server that notes what it reads, and a client that sends "1" and "2" over one connection and "3" over another, a second apart.
fn two_connections() -> (Simulation, [NodeIndex; 2], Notes) {
    let notes = Notes::default();
    let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
    let mut simulation = Simulation::new(SimOptions { link, ..SimOptions::seed(1) });
    let given = notes.clone();
    let server = simulation.add_node("server", move |life: Life| {
        let notes = given.clone();
        async move {
            let listener = life.world.net().listen("", 9092, ListenOptions::default()).await;
            let listener = listener.unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                drop(life.world.spawn(Bulkhead::Network, read_into(stream, notes.clone())));
            }
        }
    });
    let given = notes.clone();
    let client = simulation.add_node("client", move |life: Life| {
        let notes = given.clone();
        async move {
            life.world.sleep(ms(100)).await;
            let (mut ours, mut streams) = (Vec::new(), Vec::new());
            for (place, text) in [(0, b"1"), (0, b"2"), (1, b"3")] {
                if streams.len() <= place {
                    let stream = life.world.net().connect("server", 9092).await.unwrap();
                    let (reader, writer) = tokio::io::split(stream);
                    streams.push(writer);
                    ours.push(reader);
                }
                streams[place].write_all(text).await.unwrap();
                life.world.sleep(ms(1000)).await;
            }
            let ended = ours[0].read_u8().await.map_err(|error| error.kind());
            note(&notes, format!("{ended:?}"));
        }
    });
    (simulation, [server, client], notes)
}

#[test]
fn what_is_stale_arrives_behind_what_is_new_and_may_be_broken_half_way() {
    for breaks in [false, true] {
        let (mut simulation, [server, client], notes) = two_connections();
        let late = ms(4000);
        let fault = SimFault::Stale { from: client, to: server, late, breaks };
        simulation.plan(&FaultPlan(vec![(ms(600), fault)]));
        simulation.run_for(ms(10_000));
        let seen = notes.lock().unwrap().clone();
        let expected = ["1", "3", "2"].map(str::to_owned);
        let heard: Vec<_> = seen.iter().filter(|text| text.len() == 1).cloned().collect();
        assert_eq!(heard, expected, "breaks: {breaks}");
        let broken = seen.iter().any(|text| text == "Err(ConnectionReset)");
        assert_eq!(broken, breaks, "{seen:?}");
    }
}

#[test]
fn a_slow_link_delays_and_a_slow_disk_too_until_it_is_over() {
    let took = |fault: Option<fn(NodeIndex, NodeIndex) -> SimFault>| {
        let notes = Notes::default();
        let given = notes.clone();
        let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
        let mut simulation = Simulation::new(SimOptions { link, ..SimOptions::seed(3) });
        let one = simulation.add_node("one", move |life: Life| {
            let notes = given.clone();
            async move {
                loop {
                    let begun = life.world.mono();
                    for _ in 0..10 {
                        life.world.blocking("job", || ()).await.unwrap();
                        // Refused, after a segment either way.
                        assert!(life.world.net().connect("other", 1).await.is_err());
                    }
                    note(&notes, (life.world.mono() - begun).as_millis().to_string());
                }
            }
        });
        let other = simulation.add_node("other", |_| std::future::ready(()));
        if let Some(fault) = fault {
            simulation.inject(fault(one, other));
        }
        simulation.run_for(ms(60_000));
        let took: Vec<u64> = notes.lock().unwrap().iter().map(|n| n.parse().unwrap()).collect();
        (took[0], took[took.len() - 1])
    };
    let (first, last) = took(None);
    assert!(first < 700 && last < 700, "{first} and {last} ms");
    let faults: [fn(NodeIndex, NodeIndex) -> SimFault; 2] = [
        |node, _| SimFault::SlowDisk { node, by: ms(1000), lasting: ms(5000) },
        |one, other| SimFault::SlowLink { one, other, by: ms(1000), lasting: ms(5000) },
    ];
    for fault in faults {
        let (first, last) = took(Some(fault));
        assert!(first > 2500 && last < 700, "{first} and {last} ms");
    }
}

#[test]
fn a_process_is_told_to_stop() {
    let notes = Notes::default();
    let given = notes.clone();
    let mut simulation = Simulation::new(SimOptions::seed(1));
    let node = simulation.add_node("one", move |life: Life| {
        let notes = given.clone();
        async move {
            life.told_to_stop().await;
            note(&notes, format!("{:?}", life.world.mono()));
        }
    });
    simulation.plan(&FaultPlan(vec![(ms(2500), SimFault::Stop { node })]));
    simulation.run_for(ms(5000));
    assert_eq!(*notes.lock().unwrap(), ["2.5s"]);
}

#[test]
fn panics_that_nobody_planned_are_told() {
    let mut simulation = Simulation::new(SimOptions::seed(1));
    simulation.add_node("one", |life: Life| async move {
        life.world.sleep(ms(10)).await;
        let lost = life.world.blocking("job", || panic!("a bug")).await;
        assert!(lost.is_err());
    });
    assert_eq!(simulation.take_panics(), [""; 0]);
    simulation.run_for(ms(200));
    let panics = simulation.take_panics();
    assert!(panics.len() == 1 && panics[0].ends_with(": a bug"), "{panics:?}");
    assert_eq!(simulation.take_panics(), [""; 0]);
}

#[test]
fn a_plan_is_made_as_small_as_it_fails() {
    let plan = FaultPlan::draw(5, &[NodeIndex(0), NodeIndex(1)], ms(1000), 23);
    let (one, other) = (plan.0[3].clone(), plan.0[17].clone());
    let mut runs = 0;
    let least = plan.shrink(|fewer| {
        runs += 1;
        fewer.0.contains(&one) && fewer.0.contains(&other)
    });
    assert_eq!(least.0, [one, other]);
    assert!(runs < 60, "{runs} runs");
}
