//! Who votes first in a quorum that keeps its voters in its log, as `kafka-storage format` is told it.

use machines::consensus::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use machines::metadata::LevelRange;
use model::Uuid;
use model::node_config::{HostPort, NodeConfig};

use super::directories::DirectoriesError;

/// What is said of the first voters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstVoters {
    Unsaid,
    /// `--standalone`: this node alone.
    Standalone,
    /// `--initial-controllers`
    Given(String),
    /// `--no-initial-controllers`: they are known elsewhere.
    Others,
}

/// Reads `ID@HOST:PORT:DIRECTORY-ID,...` (Kafka: `DynamicVoters`).
///
/// # Errors
/// Something of that is missing or no number, an id stands there twice, or there is none.
pub(super) fn parse(text: &str, config: &NodeConfig) -> Result<VoterSet, DirectoriesError> {
    let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
    let mut voters: Vec<Voter> = Vec::new();
    for given in text.split(',').map(str::trim).filter(|given| !given.is_empty()) {
        let refused = |reason: &'static str| DirectoriesError::InitialControllers {
            given: given.chars().take(200).collect(),
            reason,
        };
        let (id, rest) = given.split_once('@').ok_or(refused("there is no @"))?;
        let id =
            id.parse().ok().filter(|id| *id >= 0).ok_or(refused("the id must be 0 or more"))?;
        let (address, directory) =
            rest.rsplit_once(':').ok_or(refused("there is no :DIRECTORY-ID"))?;
        let address = HostPort::parse(address).map_err(refused)?;
        if address.is_any() {
            return Err(refused("the host must be one that others can reach"));
        }
        let directory_id: Uuid =
            directory.parse().map_err(|_| refused("the directory id is no UUID in base64"))?;
        if directory_id.is_reserved_directory() {
            return Err(refused("the directory id is one that no directory may have"));
        }
        if voters.iter().any(|voter| voter.key.id == id) {
            return Err(refused("this id is given twice"));
        }
        let HostPort { host, port } = address;
        voters.push(Voter {
            key: ReplicaKey { id, directory_id },
            endpoints: vec![VoterEndpoint { listener: listener.clone(), host, port }],
            // Until each says itself what it speaks, as Kafka takes it.
            kraft_versions: LevelRange { min: 0, max: 1 },
        });
    }
    if voters.is_empty() {
        let (given, reason) = (text.to_owned(), "no voter is given");
        return Err(DirectoriesError::InitialControllers { given, reason });
    }
    Ok(VoterSet::new(voters))
}
