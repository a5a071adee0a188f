//! The bodies of `fuzz/` without its tools. OTTLA_FUZZ_CASES says how often for each of them.

mod bodies;
mod changes;
mod crcs;
mod memory;
mod use_all;
mod valid;

use ottla_log::Log;
use wire::compression::{Codec, Compression, compress};

use valid::{NAMES, batch, directory};

/// A whole directory in the form of the body `log_dir`, however it ended.
fn whole_directories() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for (at, content) in directory() {
        files.push(at as u8);
        files.extend((content.len() as u16).to_be_bytes());
        files.extend(content);
    }
    [0, 1, 2, 12, 28].map(|how| [&[how, 0, 0][..], &files].concat()).into()
}

/// Each file, also as what the cleaner left: `log_files` puts it beside the others.
fn single_files() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, content) in directory() {
        let kind = |name: &str| name.split('.').nth(1).map(str::to_owned);
        for (other, name) in NAMES.iter().enumerate() {
            if other == at || other >= 12 && kind(name) == kind(NAMES[at]) {
                for how in [0, 1, 2, 28] {
                    seeds.push([&[how, other as u8][..], &content].concat());
                }
            }
        }
    }
    seeds
}

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let texts = [
        "0\n1\nt 0 5\n",
        "0\n3\nt 0 5\nt 1 9223372036854775807\nother 2 0\n",
        "version=1\nnode.id=1\ncluster.id=abc\ndirectory.id=BwcHBwcHBwcHBwcHBwcHBw\n",
        "{\"version\":0,\"brokerEpoch\":7}",
        "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw",
    ];
    match of {
        "log_dir" => whole_directories(),
        "log_files" => single_files(),
        "checkpoints" => texts.map(|text| text.as_bytes().to_vec()).to_vec(),
        "producer_snapshots" => {
            let snapshot = |(at, _): &(usize, _)| NAMES[*at].ends_with(".snapshot");
            directory().into_iter().filter(snapshot).map(|(_, content)| content).collect()
        }
        "record_batches" => {
            Codec::ALL.iter().map(|codec| batch(0, *codec, false).to_bytes().to_vec()).collect()
        }
        "compressed" => Codec::ALL
            .iter()
            .map(|codec| {
                let mut packed = Vec::new();
                compress(Compression::of(*codec), &[7; 900], &mut packed).expect("packed");
                packed
            })
            .collect(),
        _ => vec![vec![0; 40], vec![1; 80], (0..120).collect()],
    }
}

#[test]
fn any_bytes_are_read_or_refused_in_the_memory_they_may_take() {
    for fuzzed in &bodies::ALL {
        changes::fuzz(fuzzed, &seeds(fuzzed.name));
    }
}

/// What a length or a count says is not reserved before it is held against what is there.
#[test]
#[should_panic(expected = "bytes were taken")]
fn memory_for_what_is_promised_is_noticed() {
    let promise = memory::Fuzzed {
        name: "promise",
        body: |data| {
            let length = u32::from_be_bytes([data[0], data[1], data[2], data[3]]);
            std::hint::black_box(Vec::<u8>::with_capacity(length as usize));
        },
        base: 1 << 10,
        per_byte: 50,
    };
    promise.run(&[0, 1, 0, 0]);
}
