//! What accounts decide.

use ottla::durable::{At, Decision, Durable};

use super::{Account, Command, Event, Transfer};

pub struct Bank;

/// Tells the other side of a transfer to take it, and again after a second.
fn tell(decision: Decision<Bank>, at: At<'_>, (id, with, amount): &Transfer) -> Decision<Bank> {
    let told = decision.tell(with, Command::Take((*id, at.key.to_owned(), *amount)));
    told.set_timer(id.to_string(), at.now_ms + 1000)
}

fn is_full(account: &Account, more: u64) -> bool {
    account.balance.checked_add(more).is_none()
}

impl Durable for Bank {
    type Command = Command;
    type Event = Event;
    type State = Account;
    type Reply = Result<Account, String>;

    fn decide(&self, at: At<'_>, account: &Account, command: Command) -> Decision<Self> {
        let refuse = |why| Decision::none().reply(Err(format!("{} {why}", at.key)));
        let decision = match command {
            Command::Open(_) if account.open => Decision::none(),
            Command::Send((id, ..)) if account.known.contains(&id) => Decision::none(),
            Command::Send((.., amount)) if amount > account.balance => return refuse("has less"),
            Command::Send(sent) => tell(Decision::persist(Event::Sent(sent.clone())), at, &sent),
            Command::Take((id, with, _)) if account.took.contains(&(with.clone(), id)) => {
                Decision::none().tell(with, Command::Taken(id))
            }
            // It stays on its way until there is room.
            Command::Open(more) | Command::Take((.., more)) if is_full(account, more) => {
                return refuse("is full");
            }
            Command::Open(amount) => Decision::persist(Event::Opened(amount)),
            Command::Take(took) => {
                let (id, with) = (took.0, took.1.clone());
                Decision::persist(Event::Took(took)).tell(with, Command::Taken(id))
            }
            Command::Taken(id) => Decision::persist(Event::Done(id)).cancel_timer(id.to_string()),
            Command::Look => Decision::none(),
        };
        decision.reply(Ok(account.clone()))
    }

    fn replay(&self, account: &mut Account, event: &Event) {
        account.replay(event);
    }

    fn timer(&self, at: At<'_>, account: &Account, name: &str) -> Decision<Self> {
        let sent = name.parse().ok().and_then(|id: u64| account.sent.get(&id));
        sent.map_or_else(Decision::none, |sent| tell(Decision::none(), at, sent))
    }
}
