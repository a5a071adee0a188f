//! What accounts decide.

use ottla::durable::{At, Decision, Durable};

use super::{Account, Command, Event, Transfer};

pub struct Bank;

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
