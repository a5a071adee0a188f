//! What an actor shows that comes and goes, when it goes itself.

use super::*;

struct Shop {
    guests: Gauge,
}

enum ShopMsg {
    Enter(i64),
    BurnDown,
}

messages!(ShopMsg { Enter, BurnDown });

impl Actor for Shop {
    const KIND: &'static str = "shop";
    type Msg = ShopMsg;
    type Args = ();

    async fn start(cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Shop { guests: cx.gauge("guests") })
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: ShopMsg) -> Outcome {
        match msg {
            ShopMsg::Enter(guests) => self.guests.add(guests),
            ShopMsg::BurnDown => return Err(Failure::new("burnt down")),
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_actor_shows_goes_with_it() {
    let world = world();
    let spec = ChildSpec::permanent().backoff(Backoff::NONE).intensity(1, Duration::MAX);
    let (seed, shop) = Seed::of::<Shop>("shop", spec.give_up(GiveUp::Offline), ());
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![seed]);
    let root = spawn_root::<Supervisor>(&world, "street", args).unwrap();
    root.started().await.unwrap();
    let until = async |status: &str, restarts: u64, sum: i64, own: Option<i64>| {
        for _ in 0..1000 {
            let tree = world.registry().tree();
            let (tree, sums) = (&tree[0].children[0], Sums::of("1", world.registry()));
            let shown = tree.numbers.get("guests").copied();
            let told = (tree.status.as_str(), tree.restarts, sums.number("shop", "guests"), shown);
            if told == (status, restarts, sum, own) {
                return;
            }
            world.sleep(Duration::from_millis(5)).await;
        }
        panic!("not {status}, {restarts}, {sum}, {own:?}: {:?}", world.registry().tree());
    };
    shop.send(ShopMsg::Enter(3)).await.unwrap();
    until("running", 0, 3, Some(3)).await;
    shop.send(ShopMsg::BurnDown).await.unwrap();
    until("running", 1, 0, Some(0)).await;
    shop.send(ShopMsg::Enter(2)).await.unwrap();
    until("running", 1, 2, Some(2)).await;
    shop.send(ShopMsg::BurnDown).await.unwrap();
    until("offline", 1, 0, None).await;
}
