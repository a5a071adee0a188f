//! `ottla format`: what it writes is started on, and what it must leave alone it leaves alone.

use crate::batch;
use crate::node::{Node, ended, free_address};
use crate::raw::{Body, Bytes, Connection};
use crate::requests::{API_VERSIONS, create_topic, fetch, produce};
use crate::starting::{assert_refused, home};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// A controller and broker whose voters are `voters`, its data in `data` of a home of its own.
pub struct Place {
    home: TempDir,
    pub address: SocketAddr,
}

impl Place {
    pub fn new(voters: &str) -> Place {
        Place::of(1, voters)
    }

    /// Of the node with this id.
    pub fn of(id: i32, voters: &str) -> Place {
        let (home, address) = (home(), free_address());
        let (port, controller) = (address.port(), address.port() + 1);
        let text = format!(
            "process.roles=broker,controller\nnode.id={id}\ncontroller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             {}\nlog.dirs={}\noffsets.topic.replication.factor=1\n",
            voters.replace("PORT", &controller.to_string()),
            home.path().join("data").display(),
        );
        fs::write(home.path().join("server.properties"), text).expect("a file");
        Place { home, address }
    }

    /// Of a quorum kept in the metadata log.
    pub fn dynamic() -> Place {
        Place::new("controller.quorum.bootstrap.servers=127.0.0.1:PORT")
    }

    pub fn properties(&self) -> String {
        self.home.path().join("server.properties").to_string_lossy().into_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub fn format(&self, more: &[&str]) -> Result<String, String> {
        let args = ["format", "--properties", &self.properties(), "--cluster-id", CLUSTER];
        format(&[&args, more].concat())
    }

    pub fn start(self) -> Node {
        let args = ["start", "--properties", &self.properties(), "--console", "off"];
        Node::start_by(self.home, self.address, args.map(str::to_owned).to_vec())
    }
}

pub fn format(args: &[&str]) -> Result<String, String> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (status, said) = ended(&args);
    if status.success() { Ok(said) } else { Err(said) }
}

pub fn refused(said: Result<String, String>, names: &[&str]) {
    assert_refused(&said.expect_err("it is refused"), names);
}

pub fn uvarint(body: &mut Body) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let [byte] = body.take::<1>();
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The finalized features that ApiVersions tells of, by name.
pub fn finalized(connection: &mut Connection) -> BTreeMap<String, i16> {
    features(connection, 2).into_iter().map(|(name, (max, _))| (name, max)).collect()
}

/// Lowest and highest level.
fn supported(connection: &mut Connection) -> BTreeMap<String, (i16, i16)> {
    features(connection, 0)
}

/// Those of a tagged field of the answer to ApiVersions.
fn features(connection: &mut Connection, field: usize) -> BTreeMap<String, (i16, i16)> {
    // The header's tagged fields, two compact strings, and the body's tagged fields: all empty but the strings.
    let request = Bytes::new().raw(&[0, 5]).raw(b"test").raw(&[2]).raw(b"1").raw(&[0]).done();
    let mut body = connection.ask(API_VERSIONS, 3, &request).body();
    assert_eq!(body.i16(), 0);
    for _ in 1..uvarint(&mut body) {
        body.take::<7>();
    }
    body.i32();
    let mut features = BTreeMap::new();
    for _ in 0..uvarint(&mut body) {
        let (tag, size) = (uvarint(&mut body), uvarint(&mut body));
        if tag != field {
            for _ in 0..size {
                body.take::<1>();
            }
            continue;
        }
        for _ in 1..uvarint(&mut body) {
            let length = uvarint(&mut body) - 1;
            let name = (0..length).map(|_| char::from(body.take::<1>()[0])).collect();
            features.insert(name, (body.i16(), body.i16()));
            body.take::<1>();
        }
    }
    features
}

#[test]
fn levels_that_are_not_released_are_for_who_asks_for_them() {
    let quorum = "controller.quorum.bootstrap.servers=127.0.0.1:PORT";
    let stable = Place::new(quorum);
    refused(
        stable.format(&["--standalone", "--feature", "metadata.version=34"]),
        &["4.5-IV0 is not yet stable", "unstable.feature.versions.enable=true"],
    );
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        return;
    }
    let place = Place::new(&format!("{quorum}\nunstable.feature.versions.enable=true"));
    place.format(&["--standalone"]).expect("formatted");
    let node = place.start();
    let mut connection = node.connect();
    assert_eq!(finalized(&mut connection).get("metadata.version"), Some(&34));
    assert_eq!(supported(&mut connection).get("metadata.version"), Some(&(7, 34)));
    // As Kafka's controllers, which tell theirs by unstable.api.versions.enable.
    let address = SocketAddr::new(node.address.ip(), node.address.port() + 1);
    let told = supported(&mut Connection::open(address));
    assert_eq!(told.get("metadata.version"), Some(&(7, 33)));
}

#[test]
fn what_is_formatted_is_started_on_and_not_formatted_again() {
    let place = Place::dynamic();
    let data = place.data();
    refused(
        place.format(&["--standalone", "--feature", "nothing.version=1"]),
        &["nothing.version"],
    );
    refused(
        place.format(&["--standalone", "--feature", "metadata.version=6"]),
        &["MetadataVersion", "level 6", "7 to 34"],
    );
    assert!(!data.join("meta.properties").exists(), "refused before anything is written");
    let said = place.format(&["--standalone", "--feature", "metadata.version=30"]);
    let said = said.expect("formatted");
    assert!(said.contains(&*data.to_string_lossy()) && said.contains(CLUSTER), "{said}");
    let meta = fs::read_to_string(data.join("meta.properties")).expect("meta.properties");
    assert_refused(&meta, &["version=1", &format!("cluster.id={CLUSTER}"), "node.id=1"]);

    let again = ["--standalone"];
    refused(place.format(&again), &["already formatted", CLUSTER, "--ignore-formatted"]);
    let home = place.home.path().to_owned();
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        return;
    }
    let node = place.start();
    let mut connection = node.connect();
    let levels = finalized(&mut connection);
    assert_eq!(levels.get("metadata.version"), Some(&30), "{levels:?}");
    assert_eq!(levels.get("kraft.version"), Some(&1), "its voters are in its log: {levels:?}");
    create_topic(&mut connection, "kept", 1);
    let records = batch::of(&[b"kept"]).bytes();
    assert_eq!(produce(&mut connection, "kept", 0, &records).error, 0);
    let address = node.address;
    let (status, _, kept) = node.terminate();
    assert!(status.success());
    assert_eq!(kept.path(), home);

    let place = Place { home: kept, address };
    refused(place.format(&again), &["already formatted"]);
    place.format(&["--standalone", "--ignore-formatted"]).expect("left as it is");
    assert_eq!(fs::read_to_string(data.join("meta.properties")).expect("still there"), meta);
    let node = place.start();
    let (error, read) = fetch(&mut node.connect(), "kept", 0);
    assert!(error == 0 && read.windows(4).any(|bytes| bytes == b"kept"), "it is still there");
}

#[test]
fn a_directory_that_holds_something_else_is_named_and_left_alone() {
    let place = Place::dynamic();
    fs::create_dir(place.data()).expect("a directory");
    fs::write(place.data().join("diary.txt"), "dear diary").expect("a file");
    refused(place.format(&["--standalone"]), &[&place.data().to_string_lossy(), "diary.txt"]);
    refused(place.format(&["--standalone", "--ignore-formatted"]), &["diary.txt"]);
    let entries = fs::read_dir(place.data()).expect("a directory");
    assert_eq!(entries.count(), 1, "nothing was written beside it");
}

#[test]
fn the_voters_are_named_once_and_not_twice() {
    let dynamic = Place::dynamic();
    refused(dynamic.format(&[]), &["controller.quorum.voters", "--standalone"]);
    let fixed = Place::new("controller.quorum.voters=1@127.0.0.1:PORT");
    refused(fixed.format(&["--standalone"]), &["controller.quorum.voters", "--standalone"]);
    for place in [&dynamic, &fixed] {
        assert!(
            !place.data().join("meta.properties").exists(),
            "refused before anything is written"
        );
    }
    fixed.format(&[]).expect("formatted");
    if std::env::var_os("OTTLA_BOOTSTRAP").is_none() {
        assert_eq!(finalized(&mut fixed.start().connect()).get("kraft.version"), None);
    }
}

/// Each would be a cluster of its own.
#[test]
fn one_of_several_controllers_of_a_quorum_kept_in_its_log_is_formatted_by_hand() {
    let several = "controller.quorum.bootstrap.servers=127.0.0.1:PORT,127.0.0.1:1";
    let place = Place::new(several);
    let args = ["start", "--properties", &place.properties(), "--console", "off"];
    refused(format(&args), &["ottla format", "--standalone", "--initial-controllers"]);
    assert!(!place.data().join("meta.properties").exists());
}

/// As Kafka refuses it (`KafkaRaftServer.initializeLogDirs`, `MetaPropertiesEnsemble`).
#[test]
fn a_node_whose_metadata_log_is_not_where_it_is_to_be_says_so() {
    let place = Place::dynamic();
    place.format(&["--standalone"]).expect("formatted");
    let (metadata, data) = (place.home.path().join("metadata"), place.data());
    let moved = format!("metadata.log.dir={}\n", metadata.display());
    let text = fs::read_to_string(place.properties()).expect("a file");
    fs::write(place.properties(), text + &moved).expect("a file");
    let args = ["start", "--properties", &place.properties(), "--console", "off"];
    let (metadata, data) = (metadata.to_string_lossy(), data.to_string_lossy());
    refused(format(&args), &[&*metadata, &*data, "metadata.log.dir"]);
    let log = place.data().join("__cluster_metadata-0");
    fs::rename(&log, place.home.path().join("old")).expect("it was formatted");
    refused(format(&args), &[&*metadata, &*data, "--ignore-formatted"]);
}

/// What a broker knows of the cluster is what its controllers say.
#[test]
fn a_broker_is_formatted_without_a_snapshot_of_its_own() {
    let place = Place::dynamic();
    let text = fs::read_to_string(place.properties()).expect("a file");
    let text = text.replace("broker,controller", "broker").replace(",CONTROLLER://", "\n#");
    fs::write(place.properties(), text).expect("a file");
    place.format(&[]).expect("it is formatted");
    let entries = fs::read_dir(place.data()).expect("a directory");
    let names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(names.iter().any(|name| name == "meta.properties"), "{names:?}");
    assert!(names.iter().all(|name| name != "__cluster_metadata-0"), "{names:?}");
}

#[test]
fn a_clusters_file_names_its_voters_and_its_cluster() {
    let home = home();
    let (file, data) = (home.path().join("cluster.toml"), home.path().join("data"));
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let text = format!(
        "[cluster]\nid = {CLUSTER:?}\n[[node]]\nid = 1\nlisten = \"127.0.0.1:1\"\n\
         controller = \"127.0.0.1:2\"\ndata = [{:?}]\n",
        path(&data)
    );
    fs::write(&file, text).expect("a file");
    let file = path(&file);
    let args = ["format", "--config", &file, "--node", "1"];
    let with = |more: &[&str]| format(&[&args, more].concat());
    refused(with(&["--standalone"]), &["--standalone", "cluster's file"]);
    refused(with(&["--cluster-id", "SomebodyElsesClusterId"]), &["--cluster-id", CLUSTER]);
    assert!(!data.join("meta.properties").exists(), "refused before anything is written");
    assert!(with(&[]).expect("formatted").contains(CLUSTER));
}
