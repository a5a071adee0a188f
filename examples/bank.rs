//! Durable actors that act together: accounts between which money moves. Whatever dies, none is lost and none is made.
//!
//! A transfer is a saga: its sender journals it, and tells the other side until that has taken it. `cargo run --example bank`

use ottla::Node;
use ottla::durable::{At, Decision, Durable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub struct Bank;

/// No other has its id; then whose account is on the other side, and how much it is.
pub type Transfer = (u64, String, u64);

#[derive(Serialize, Deserialize)]
pub enum Command {
    Open(u64),
    Look,
    Send(Transfer),
    Take(Transfer),
    Taken(u64),
}

#[derive(Serialize, Deserialize)]
pub enum Event {
    Opened(u64),
    Sent(Transfer),
    Took(u64, u64),
    Done(u64),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub balance: u64,
    pub sent: BTreeMap<u64, Transfer>,
    pub took: BTreeSet<u64>,
}

/// Tells the other side of a transfer to take it, and again after a second.
fn tell(decision: Decision<Bank>, at: At<'_>, (id, with, amount): &Transfer) -> Decision<Bank> {
    let told = decision.tell(with, Command::Take((*id, at.key.to_owned(), *amount)));
    told.set_timer(id.to_string(), at.now_ms + 1000)
}

impl Durable for Bank {
    type Command = Command;
    type Event = Event;
    type State = Account;
    type Reply = Result<Account, String>;

    fn decide(&self, at: At<'_>, account: &Account, command: Command) -> Decision<Self> {
        let decision = match command {
            Command::Open(amount) => Decision::persist(Event::Opened(amount)),
            Command::Send((.., amount)) if amount > account.balance => {
                return Decision::none().reply(Err(format!("{} has less", at.key)));
            }
            Command::Send(sent) => tell(Decision::persist(Event::Sent(sent.clone())), at, &sent),
            Command::Take((id, with, amount)) => {
                let took = (!account.took.contains(&id)).then_some(Event::Took(id, amount));
                took.map_or_else(Decision::none, Decision::persist).tell(with, Command::Taken(id))
            }
            Command::Taken(id) => Decision::persist(Event::Done(id)).cancel_timer(id.to_string()),
            Command::Look => Decision::none(),
        };
        decision.reply(Ok(account.clone()))
    }

    fn replay(&self, account: &mut Account, event: &Event) {
        match event {
            Event::Opened(amount) => account.balance += amount,
            Event::Sent(sent) => {
                account.balance -= sent.2;
                account.sent.insert(sent.0, sent.clone());
            }
            Event::Took(id, amount) => {
                account.took.insert(*id);
                account.balance += amount;
            }
            Event::Done(id) => drop(account.sent.remove(id)),
        }
    }

    fn timer(&self, at: At<'_>, account: &Account, name: &str) -> Decision<Self> {
        let sent = name.parse().ok().and_then(|id: u64| account.sent.get(&id));
        sent.map_or_else(Decision::none, |sent| tell(Decision::none(), at, sent))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("bank-data", "127.0.0.1:9092", &[]).durable("bank", Bank);
    let node = node.start().await?;
    let (bank, id) = (node.durable::<Bank>("bank")?, node.world().random("transfers").next_u64());
    bank.ask("alice", Command::Open(100)).await??;
    bank.ask("alice", Command::Send((id, "bob".to_owned(), 30))).await??;
    while !bank.ask("alice", Command::Look).await??.sent.is_empty() {}
    println!("{:?}", bank.ask("bob", Command::Look).await??);
    Ok(())
}
