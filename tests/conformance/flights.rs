//! What is produced: flights as JSON, keyed by the tail number of the aeroplane. OTTLA_FLIGHTS names a file of real ones, a
//! line each: key, tab, value.

use std::collections::BTreeMap;
use std::env;
use std::fs;

#[derive(Debug, Clone, PartialEq)]
pub struct Flight {
    pub key: String,
    pub value: String,
}

/// All the real flights where there is a file of them, else as many made up.
pub fn load(made_up: usize) -> Vec<Flight> {
    let Some(path) = env::var_os("OTTLA_FLIGHTS") else { return make_up(made_up) };
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let flight = |line: &str| {
        let (key, value) = line.split_once('\t').expect("key, tab, value");
        Flight { key: key.to_owned(), value: value.to_owned() }
    };
    text.lines().map(flight).collect()
}

/// As uneven as the real ones: few aeroplanes fly often, most seldom.
pub fn make_up(count: usize) -> Vec<Flight> {
    const CARRIERS: [&str; 6] = ["UA", "AA", "B6", "DL", "EV", "MQ"];
    const AIRPORTS: [&str; 8] = ["EWR", "LGA", "JFK", "IAH", "MIA", "ORD", "ATL", "SFO"];
    let mut state = 2_013u64;
    let mut draw = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let make = |row: usize| {
        let widest = 1 + draw(4_000);
        let plane = draw(widest);
        let carrier = CARRIERS[(plane % 6) as usize];
        let key = format!("N{}{carrier}", 100 + plane);
        let (minute, delay) = (row * 525_600 / count, draw(90) as i64 - 20);
        let value = serde_json::json!({
            "year": 2013, "month": 1 + minute / 43_800, "day": 1 + minute / 1_440 % 28,
            "dep_time": minute / 60 % 24 * 100 + minute % 60, "dep_delay": delay,
            "carrier": carrier, "flight": row, "tailnum": key,
            "origin": AIRPORTS[draw(3) as usize], "dest": AIRPORTS[3 + draw(5) as usize],
            "air_time": 40 + draw(300), "distance": 200 + draw(2_400),
        });
        Flight { key, value: value.to_string() }
    };
    (0..count).map(make).collect()
}

/// Count, and a hash that heeds the order within each key and not that across keys.
pub fn digest<'a>(flights: impl IntoIterator<Item = &'a Flight>) -> (usize, u64) {
    let mut count = 0;
    let mut keys: BTreeMap<&str, u64> = BTreeMap::new();
    for flight in flights {
        count += 1;
        let hash = keys.entry(&flight.key).or_insert_with(|| fnv(FNV_START, flight.key.as_bytes()));
        *hash = fnv(*hash, flight.value.as_bytes());
    }
    (count, keys.values().fold(0, |all, hash| all ^ hash))
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
