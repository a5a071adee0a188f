//! Users' durable actors in a cluster under a seed: money moves between accounts while nodes die and leadership moves, and none of it is
//! lost or made. A bank with a bug is found out.

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/bank/main.rs"]
mod example;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use example::{Account, Bank, Command, Event};
use ottla::client::Client;
use ottla::durable::{At, Decision, Durable, DurableError, DurableRef, DurableTopic};
use ottla::sim::{Cluster, FaultPlan, Life, SimFault, SimOptions, TraceLog, check_replay};

use crate::seeds::number;

const ACCOUNTS: [&str; 6] = ["ann", "ben", "cleo", "dan", "eve", "finn"];
const OPENED: u64 = 100;
const TOTAL: i64 = 600;
/// Of each customer.
const TRANSFERS: u64 = 30;
const CUSTOMERS: u64 = 2;
/// How long a customer waits for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
const TROUBLE: Duration = Duration::from_secs(20);
const FAULTS: usize = 12;
const LIMIT: Duration = Duration::from_secs(300);

type Reply = Result<Account, String>;

/// A bank that takes again what it took before.
struct Careless;

impl Durable for Careless {
    type Command = Command;
    type Event = Event;
    type State = Account;
    type Reply = Reply;

    fn decide(&self, at: At<'_>, account: &Account, command: Command) -> Decision<Self> {
        match command {
            Command::Take((id, with, amount)) => {
                let took = Decision::persist(Event::Took((id, with.clone(), amount)));
                took.tell(with, Command::Taken(id)).reply(Ok(account.clone()))
            }
            other => Bank.decide(at, account, other).of(),
        }
    }

    fn replay(&self, account: &mut Account, event: &Event) {
        Bank.replay(account, event);
    }

    fn timer(&self, at: At<'_>, account: &Account, name: &str) -> Decision<Self> {
        Bank.timer(at, account, name).of()
    }
}

fn file() -> String {
    let node = |id| {
        format!(
            "[[node]]\nid = {id}\nlisten = \"n{id}:9092\"\ncontroller = \"n{id}:9093\"\ndata = \"/data\"\n"
        )
    };
    let settings = "[settings]\n\"default.replication.factor\" = 3\n\"min.insync.replicas\" = 2\n";
    settings.to_owned() + &(1..=3).map(node).collect::<String>()
}

/// Asks again, under an id of its own, until there is an answer.
async fn until_answered<D>(
    bank: &DurableRef<D>,
    account: &str,
    command: impl Fn() -> Command,
) -> Reply
where
    D: Durable<Command = Command, Reply = Reply>,
{
    loop {
        match bank.ask(account, command()).await {
            Err(DurableError::TimedOut { .. } | DurableError::Uncertain(_)) => {}
            answered => return answered.expect("an answer"),
        }
    }
}

/// Moves money about while everything happens, then waits until none is on its way, and tells how much there is.
async fn customers<D>(life: Life, found: Arc<AtomicI64>)
where
    D: Durable<Command = Command, Reply = Reply>,
{
    let nodes = ["n1:9092", "n2:9092", "n3:9092"];
    let client = Client::new(&life.world, nodes).expect("addresses");
    let bank: DurableRef<D> = client.durable("bank").within(LIMIT);
    let customer = async |number: u64| {
        // It loses patience, and asks again.
        let client = Client::new(&life.world, nodes).expect("addresses");
        let bank: DurableRef<D> = client.durable("bank").within(PATIENCE);
        for name in ACCOUNTS {
            let opened = until_answered(&bank, name, || Command::Open(OPENED)).await;
            opened.expect("opened");
        }
        let mut random = life.world.random(&format!("customer-{number}"));
        for id in 0..TRANSFERS {
            let from = random.below(ACCOUNTS.len() as u64) as usize;
            let to = (from + 1 + random.below(ACCOUNTS.len() as u64 - 1) as usize) % ACCOUNTS.len();
            let (id, amount) = (id * CUSTOMERS + number, 1 + random.below(OPENED / 2));
            let send = || Command::Send((id, ACCOUNTS[to].to_owned(), amount));
            // An account may refuse.
            let _: Reply = until_answered(&bank, ACCOUNTS[from], send).await;
            life.world.sleep(Duration::from_millis(random.below(1200))).await;
        }
    };
    tokio::join!(customer(0), customer(1));
    let look = async |name| {
        let looked = bank.ask(name, Command::Look).await.expect("an answer");
        looked.expect("an account")
    };
    for name in ACCOUNTS {
        while !look(name).await.sent.is_empty() {
            life.world.sleep(Duration::from_millis(100)).await;
        }
    }
    let mut sum = 0;
    for name in ACCOUNTS {
        sum += look(name).await.balance;
    }
    found.store(i64::try_from(sum).expect("not so much"), Ordering::Relaxed);
}

/// Dead processes, and nodes that hear nothing of each other; records are not synced, so that no machine may lose its power.
fn plan(seed: u64, cluster: &Cluster) -> FaultPlan {
    let nodes: Vec<_> = cluster.members().into_iter().map(|(_, index)| index).collect();
    let mut plan = FaultPlan::draw(seed, &nodes, TROUBLE, FAULTS);
    for (_, fault) in &mut plan.0 {
        if let SimFault::PowerLoss { node, down } = *fault {
            *fault = SimFault::Kill { node, down };
        }
    }
    plan.with_panics(seed, &nodes, "durable:bank/", TROUBLE, 2)
}

/// How much there is in the end; less than nothing where it does not come.
fn run<D>(seed: u64, keep_lines: bool, bank: fn() -> D) -> (i64, TraceLog)
where
    D: Durable<Command = Command, Reply = Reply>,
{
    let options = SimOptions { keep_lines, ..SimOptions::seed(seed) };
    let on = DurableTopic { partitions: 3, snapshot_every: 5 };
    let cluster = Cluster::built(options, &file(), move |builder| {
        builder.durable_on("bank", on.clone(), bank())
    });
    let mut cluster = cluster.expect("a cluster's file");
    let found = Arc::new(AtomicI64::new(-1));
    let told = found.clone();
    cluster.world.add_node("customers", move |life| customers::<D>(life, told.clone()));
    cluster.run_for(Duration::from_secs(3));
    let plan = plan(seed, &cluster);
    cluster.world.plan(&plan);
    cluster.run_until(LIMIT, |_| found.load(Ordering::Relaxed) >= 0);
    (found.load(Ordering::Relaxed), cluster.finish())
}

/// `OTTLA_SEEDS` is how many; `OTTLA_SEED` is one of them alone.
#[test]
fn no_money_is_lost_or_made_whatever_dies() {
    let seeds = number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(8), |s| s..s + 1);
    let wrong: Vec<_> = seeds
        .map(|seed| (seed, run(seed, false, || Bank).0))
        .filter(|(_, found)| *found != TOTAL)
        .collect();
    assert!(wrong.is_empty(), "seeds, and what there was in the end: {wrong:?}");
}

#[test]
fn a_bank_that_takes_twice_is_found_out() {
    let found = (0..20).map(|seed| run(seed, false, || Careless).0).find(|found| *found > TOTAL);
    assert!(found.is_some());
}

#[test]
fn a_seed_that_runs_again_runs_alike() {
    check_replay(3, |seed, keep_lines| run(seed, keep_lines, || Bank).1).expect("equal traces");
}
