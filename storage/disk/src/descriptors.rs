//! What a process may hold open, and what of it is for what.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many at least are for neither: listeners, threads, files that are open for a moment.
const SPARE: usize = 64;
/// Beyond this, more open files are of no use, and their maps would come near the `vm.max_map_count` of 65530.
const MOST_FILES: usize = 1 << 15;

/// The descriptors of a process, shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Half of them: for a [`PooledDisk`](crate::PooledDisk).
    pub files: usize,
    /// For connections that are accepted: what is left, but for an eighth of all.
    pub connections: usize,
}

impl Descriptors {
    /// Of this process, once the soft limit is raised to the hard one.
    pub fn of_process() -> Descriptors {
        let limits = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
        // Where it cannot be raised it stays as it is.
        let _ = setrlimit(Resource::Nofile, raised);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Descriptors::of(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn of(limit: usize) -> Descriptors {
        let (files, spare) = (limit / 2, (limit / 8).max(SPARE));
        let connections = (limit - files).saturating_sub(spare).max(1);
        Descriptors { files: files.clamp(1, MOST_FILES), connections }
    }

    /// Of one of so many nodes that share them.
    pub fn share(self, nodes: usize) -> Descriptors {
        let of = |all: usize| (all / nodes.max(1)).max(1);
        Descriptors { files: of(self.files), connections: of(self.connections) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_for_files_and_most_of_the_rest_for_connections() {
        let of = |limit| {
            let Descriptors { files, connections } = Descriptors::of(limit);
            (files, connections)
        };
        assert_eq!(of(4096), (2048, 1536));
        assert_eq!(of(256), (128, 64));
        assert_eq!(of(64), (32, 1));
        assert_eq!(of(1 << 20), (32768, (1 << 19) - (1 << 17)));
        let shared = Descriptors::of(4096).share(3);
        assert_eq!((shared.files, shared.connections), (682, 512));
    }
}
