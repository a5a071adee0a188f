//! The durable actors of the examples: a counter whose node is killed with kill -9, accounts, and timers that outlive who set them.

use std::collections::BTreeMap;
use std::process::Command as Process;
use std::time::Duration;

use ottla::durable::{At, Decision, Durable, DurableRef};
use ottla::{Node, StartError};

use crate::bank::{Account, Bank, Command};
use crate::counter::{self, cluster, serve};
use crate::durable::free_ports;
use crate::{LIMIT, SOON};

/// Set where this very test is run as a node of its own.
const FILE: &str = "OTTLA_TEST_FILE";
const ID: &str = "OTTLA_TEST_ID";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_survive_kill_9_of_a_node() {
    if let (Ok(file), Ok(id)) = (std::env::var(FILE), std::env::var(ID)) {
        serve(file.as_ref(), id.parse().unwrap()).await.unwrap().ended().await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.toml");
    std::fs::write(&file, cluster(dir.path(), free_ports())).unwrap();
    let process = |id: i32| {
        let mut process = Process::new(std::env::current_exe().unwrap());
        process.args(["--exact", "sagas::counters_survive_kill_9_of_a_node"]);
        process.env(FILE, &file).env(ID, id.to_string());
        process
    };
    // Four times one for each of forty keys.
    assert_eq!(counter::run(&file, process).await.unwrap(), 160);
}

async fn account(bank: &DurableRef<Bank>, name: &str) -> Account {
    bank.ask(name, Command::Look).await.expect("an answer").expect("an account")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_moves_between_accounts_and_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).durable("bank", Bank);
    let node = builder.start().await.unwrap();
    let bank = node.durable::<Bank>("bank").unwrap().within(LIMIT);
    let names = ["ann", "ben", "cleo", "dan"];
    for name in names {
        bank.ask(name, Command::Open(50)).await.unwrap().unwrap();
    }
    for id in 0..40 {
        let (from, to) = (names[id % 4], names[(id * 3 + 1) % 4].to_owned());
        if from != to {
            let (id, amount) = (id as u64, 1 + id as u64 % 20);
            let _may_refuse = bank.ask(from, Command::Send((id, to, amount))).await.unwrap();
        }
    }
    let too_much = Command::Send((99, "ben".to_owned(), 1000));
    assert!(bank.ask("ann", too_much).await.unwrap().is_err());
    let mut sum = 0;
    for name in names {
        let settled = async { while !account(&bank, name).await.sent.is_empty() {} };
        tokio::time::timeout(LIMIT, settled).await.unwrap();
    }
    for name in names {
        sum += account(&bank, name).await.balance;
    }
    assert_eq!(sum, 200);
    // Told again, it is not taken again.
    let before = account(&bank, "ann").await;
    let (from, took) = before.took.first().expect("something was sent to her").clone();
    let sent = *before.known.first().expect("she sent something");
    for again in [
        Command::Take((took, from, 7)),
        Command::Send((sent, "ben".to_owned(), 1)),
        Command::Open(50),
    ] {
        bank.ask("ann", again).await.unwrap().unwrap();
        assert_eq!(account(&bank, "ann").await, before);
    }
    // Another's transfer may have the same id; and what is too much is not taken.
    bank.ask("ann", Command::Take((took, "nobody".to_owned(), 1))).await.unwrap().unwrap();
    assert_eq!(account(&bank, "ann").await.balance, before.balance + 1);
    let too_much = Command::Take((1000, "nobody".to_owned(), u64::MAX));
    assert!(bank.ask("ann", too_much).await.unwrap().is_err());
    node.stop().await;
}

/// Remembers when its timers fired.
struct Alarm;

impl Durable for Alarm {
    /// In how many milliseconds, and under which name; or nothing.
    type Command = Option<(i64, String)>;
    type Event = (String, i64);
    type State = BTreeMap<String, Vec<i64>>;
    type Reply = (i64, BTreeMap<String, Vec<i64>>);

    fn decide(&self, at: At<'_>, fired: &Self::State, command: Self::Command) -> Decision<Self> {
        let reply = |due| (due, fired.clone());
        match command {
            Some((after, name)) => {
                let due = at.now_ms + after;
                Decision::none().set_timer(name, due).reply(reply(due))
            }
            None => Decision::none().reply(reply(0)),
        }
    }

    fn replay(&self, fired: &mut Self::State, (name, at_ms): &(String, i64)) {
        fired.entry(name.clone()).or_default().push(*at_ms);
    }

    fn timer(&self, at: At<'_>, _: &Self::State, name: &str) -> Decision<Self> {
        Decision::persist((name.to_owned(), at.now_ms))
    }
}

async fn alarmed(dir: &std::path::Path) -> Result<Node, StartError> {
    let builder = Node::builder().quick(dir, "127.0.0.1:0", &[]);
    builder.durable("alarms", Alarm).start().await
}

async fn until_fired(alarms: &DurableRef<Alarm>, names: &[&str]) -> BTreeMap<String, Vec<i64>> {
    let fired = async {
        loop {
            let (_, fired) = alarms.ask("house", None).await.expect("an answer");
            if names.iter().all(|name| fired.contains_key(*name)) {
                break fired;
            }
        }
    };
    tokio::time::timeout(SOON, fired).await.expect("they fired")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_once_at_their_time_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let node = alarmed(dir.path()).await.unwrap();
    let alarms = node.durable::<Alarm>("alarms").unwrap();
    let mut due = BTreeMap::new();
    for (name, after) in [("first", 50), ("second", 1500), ("overdue", 300)] {
        let (at, _) = alarms.ask("house", Some((after, name.to_owned()))).await.unwrap();
        due.insert(name.to_owned(), at);
    }
    until_fired(&alarms, &["first"]).await;
    node.kill();
    drop(alarms);
    node.ended().await;
    drop(node);
    let node = alarmed(dir.path()).await.unwrap();
    let alarms = node.durable::<Alarm>("alarms").unwrap().within(Duration::from_secs(20));
    let fired = until_fired(&alarms, &["first", "second", "overdue"]).await;
    for (name, times) in fired {
        assert_eq!(times.len(), 1, "{name}");
        assert!(times[0] >= due[&name], "{name} fired at {times:?}, before {}", due[&name]);
    }
    node.stop().await;
}
