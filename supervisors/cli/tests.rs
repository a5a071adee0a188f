use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::*;
use crate::dump_log::{Coordinator, Decoder, PlainDecoder};

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("ottla").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

fn start(line: &str) -> Start {
    match parse(line) {
        Ok(Command::Start(start)) => start,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn start_with_nothing() {
    let start = start("start");
    let listen = HostPort::new("127.0.0.1", 9092);
    assert_eq!(start.source(), Source::Nothing { data: "ottla-data".into(), listen });
    assert_eq!(start.console, Console::At(HostPort::new("127.0.0.1", 8080)));
    assert_eq!(start.set, []);
}

#[test]
fn start_with_everything_it_takes() {
    let nothing = start("start --data d --listen [::1]:1 --set a=b=c --set d= --console off");
    let listen = HostPort::new("::1", 1);
    assert_eq!(nothing.source(), Source::Nothing { data: "d".into(), listen });
    assert_eq!(nothing.set, [("a".into(), "b=c".into()), ("d".into(), String::new())]);
    assert_eq!(nothing.console, Console::Off);

    let cluster = start("start --config c.toml --node 2 --console :0");
    assert_eq!(cluster.source(), Source::Cluster { file: "c.toml".into(), node: Some(2) });
    let all = start("start --config c.toml");
    assert_eq!(all.source(), Source::Cluster { file: "c.toml".into(), node: None });
    let properties = start("start --properties s.properties");
    assert_eq!(properties.source(), Source::Properties("s.properties".into()));
}

#[test]
fn format_and_tree() {
    let line = "format --config c.toml --node 1 --cluster-id x --standalone \
        --feature kraft.version=1 --feature metadata.version=30 --ignore-formatted";
    let Ok(Command::Format(format)) = parse(line) else { panic!("{line}") };
    assert_eq!(format.source(), Some(Source::Cluster { file: "c.toml".into(), node: Some(1) }));
    assert_eq!(format.cluster_id.as_deref(), Some("x"));
    assert!(format.standalone && format.ignore_formatted);
    assert_eq!(format.feature, [("kraft.version".into(), 1), ("metadata.version".into(), 30)]);

    let console = HostPort::new("h", 1);
    let (live, part, depth) = (false, Part::default(), None);
    let tree = Tree { live, part, depth, console };
    assert_eq!(parse("tree --console h:1"), Ok(Command::Tree(tree)));
    assert!(parse("tree --depth 0").is_err());
    assert!(parse("top --sort age").is_err());
    assert!(parse("top --lines 5").is_err(), "only a page has a length");
}

#[test]
fn faults() {
    let fault = |line: &str| match parse(line) {
        Ok(Command::Fault(fault)) => (fault.what.parts().1, fault.console.port),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(fault("fault kill raft --console h:1"), (runtime::Fault::Kill, 1));
    let paused = runtime::Fault::Pause { for_ms: 120_000 };
    assert_eq!(fault("fault pause raft --for 2m").0, paused);
    let delayed = runtime::Fault::Delay { by_ms: 20, for_ms: 5000 };
    assert_eq!(fault("fault --console h:1 delay raft --by 20ms --for 5s"), (delayed, 1));
}

#[test]
fn traces() {
    let trace = |line: &str| match parse(line) {
        Ok(Command::Trace(trace)) => trace,
        other => panic!("{line}: {other:?}"),
    };
    let all = trace("trace raft --for 10s --count 3 --console h:1");
    assert_eq!((all.actor.as_str(), all.console.port), ("raft", 1));
    assert_eq!((all.lasts, all.count.map(u64::from)), (Some(Duration::from_secs(10)), Some(3)));
    assert_eq!((trace("trace raft").lasts, trace("trace raft").count), (None, None));
}

#[test]
fn dump_log_takes_what_kafkas_tool_takes() {
    let options = |line: &str| match parse(&format!("dump-log {line}")) {
        Ok(Command::DumpLog(dump)) => dump.options(),
        other => panic!("{line}: {other:?}"),
    };
    let plain = options("--files a.log,b.index");
    assert_eq!(plain.files, ["a.log", "b.index"].map(PathBuf::from));
    assert!(!plain.print_data && !plain.deep && plain.decoder.is_none());
    assert_eq!((plain.max_message_size, plain.max_bytes), (5 << 20, None));
    let deep = options("dir --deep --skip-record-metadata --max-bytes 9 --verify-index-only");
    assert!(deep.deep && !deep.print_data && deep.skip_record_metadata && deep.verify_only);
    assert_eq!((deep.paths, deep.max_bytes), (vec![PathBuf::from("dir")], Some(9)));
    for (line, decoder) in [
        ("--offsets-decoder", Decoder::Coordinator(Coordinator::Group)),
        ("--transaction-log-decoder", Decoder::Coordinator(Coordinator::Transaction)),
        ("--share-group-state-decoder", Decoder::Coordinator(Coordinator::Share)),
        ("--cluster-metadata-decoder", Decoder::ClusterMetadata),
        ("--remote-log-metadata-decoder", Decoder::RemoteLogMetadata),
        (
            "--key-decoder-class org.apache.kafka.tools.api.LongDecoder --value-decoder-class",
            Decoder::Plain { key: PlainDecoder::Long, value: PlainDecoder::Text },
        ),
    ] {
        let options = options(&format!("--files a.log {line}"));
        assert_eq!(options.decoder, Some(decoder), "{line}");
        assert!(options.print_data && options.deep);
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    for (line, expected) in [
        ("", "Usage"),
        ("strat", "start"),
        ("start --listn h:1", "--listen"),
        ("start --listen 9092", "HOST:PORT is expected"),
        ("start --listen h:99999", "0 to 65535"),
        ("start --set a", "KEY=VALUE is expected"),
        ("start --console on", "or: off"),
        ("start --node 1", "--config"),
        ("start --node x --config c", "invalid digit"),
        ("start --node 1 --properties p", "cannot be used with '--properties"),
        ("start --node 1 --data d", "cannot be used with '--data"),
        ("start --node 1 --listen h:1", "cannot be used with '--listen"),
        ("start --config c --properties p", "cannot be used with"),
        ("start --config c --data d", "cannot be used with"),
        ("start --properties p --listen h:1", "cannot be used with"),
        ("dump-log", "--files"),
        ("dump-log a.log --max-bytes=-1", "--max-bytes"),
        ("dump-log a.log --value-decoder-class my.Decoder", "built in are StringDecoder"),
        ("format --cluster-id x", "--properties"),
        ("format --properties p", "--cluster-id"),
        ("format --config c --cluster-id x", "--node"),
        ("format --properties p --config c --node 1 --cluster-id x", "cannot be used with"),
        ("format --properties p --cluster-id x --feature f=-1", "NAME=LEVEL"),
        ("fault pause", "<ACTOR>"),
        ("fault pause raft --for 11m", "600 s at most"),
        ("fault pause raft --for 0s", "a time is expected"),
        ("fault delay raft", "--by"),
        ("fault delay raft --by 20", "20ms, 5s or 2m"),
        ("fault pase raft", "pause"),
        ("trace", "<ACTOR>"),
        ("trace raft --for 10", "20ms, 5s or 2m"),
        ("trace raft --count 0", "--count"),
        ("format --properties p --cluster-id x --node 7", "cannot be used with"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
