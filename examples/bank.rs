//! Durable actors that act together: accounts between which money moves. Whatever dies, none is lost and none is made.
//!
//! A transfer is a saga. The sender's account journals it and tells the other; until that has said that it took it, a timer tells it again.
//! The other one takes each transfer once, by its id. `cargo run --example bank`

use std::collections::{BTreeMap, BTreeSet};

use ottla::Node;
use ottla::durable::{At, Decision, Durable};
use serde::{Deserialize, Serialize};

pub struct Bank;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    Open { amount: u64 },
    Look,
    Send { id: u64, to: String, amount: u64 },
    Take { id: u64, from: String, amount: u64 },
    Taken { id: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    Opened { amount: u64 },
    Sent { id: u64, to: String, amount: u64 },
    Took { id: u64, amount: u64 },
    Confirmed { id: u64 },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub balance: u64,
    /// On their way: to whom, and how much.
    pub sent: BTreeMap<u64, (String, u64)>,
    pub took: BTreeSet<u64>,
}

const RETRY_MS: i64 = 1000;

impl Durable for Bank {
    type Command = Command;
    type Event = Event;
    type State = Account;
    type Reply = Result<Account, String>;

    fn decide(&self, at: At<'_>, account: &Account, command: Command) -> Decision<Self> {
        let decision = match command {
            Command::Open { amount } => Decision::persist(Event::Opened { amount }),
            Command::Send { amount, .. } if amount > account.balance => {
                return Decision::none().reply(Err("there is not so much".to_owned()));
            }
            Command::Send { id, to, amount } => {
                let take = Command::Take { id, from: at.key.to_owned(), amount };
                let sent = Decision::persist(Event::Sent { id, to: to.clone(), amount });
                sent.tell(to, take).set_timer(id.to_string(), at.now_ms + RETRY_MS)
            }
            Command::Take { id, from, amount } => {
                let took = match account.took.contains(&id) {
                    true => Decision::none(),
                    false => Decision::persist(Event::Took { id, amount }),
                };
                took.tell(from, Command::Taken { id })
            }
            Command::Taken { id } if account.sent.contains_key(&id) => {
                Decision::persist(Event::Confirmed { id }).cancel_timer(id.to_string())
            }
            Command::Taken { .. } | Command::Look => Decision::none(),
        };
        decision.reply(Ok(account.clone()))
    }

    fn replay(&self, account: &mut Account, event: &Event) {
        match event {
            Event::Opened { amount } => account.balance += amount,
            Event::Sent { id, to, amount } => {
                account.balance -= amount;
                account.sent.insert(*id, (to.clone(), *amount));
            }
            Event::Took { id, amount } => {
                account.balance += amount;
                account.took.insert(*id);
            }
            Event::Confirmed { id } => drop(account.sent.remove(id)),
        }
    }

    fn timer(&self, at: At<'_>, account: &Account, id: &str) -> Decision<Self> {
        let sent = id.parse().ok().and_then(|id| Some((id, account.sent.get(&id)?)));
        let Some((id, (to, amount))) = sent else { return Decision::none() };
        let take = Command::Take { id, from: at.key.to_owned(), amount: *amount };
        Decision::none().tell(to, take).set_timer(id.to_string(), at.now_ms + RETRY_MS)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let node =
        Node::builder().quick("bank-data", &listen, &[]).durable("bank", Bank).start().await?;
    let bank = node.durable::<Bank>("bank")?;
    bank.ask("alice", Command::Open { amount: 100 }).await??;
    let id = u64::try_from(node.world().now().wall_ms)?;
    bank.ask("alice", Command::Send { id, to: "bob".to_owned(), amount: 30 }).await??;
    while !bank.ask("alice", Command::Look).await??.sent.is_empty() {}
    for name in ["alice", "bob"] {
        println!("{name} has {}", bank.ask(name, Command::Look).await??.balance);
    }
    node.stop().await;
    Ok(())
}
