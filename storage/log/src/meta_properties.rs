//! `meta.properties`: whose directory this is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use disk::{Disk, DiskError};
use model::{NodeId, Uuid};

pub const META_PROPERTIES_FILE: &str = "meta.properties";

const MAX_FILE: usize = 1 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum MetaPropertiesError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{path:?} has no valid {key}: {value:?}")]
    Invalid { path: PathBuf, key: &'static str, value: Option<String> },
}

/// Version 1 names the directory as well; version 0 is of clusters that began with ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: Option<String>,
    pub node_id: Option<NodeId>,
    pub directory_id: Option<Uuid>,
    /// Lines with other keys, kept as they are.
    pub other: BTreeMap<String, String>,
}

impl MetaProperties {
    /// `None` where there is no such file: the directory is not formatted.
    pub fn read(
        disk: &dyn Disk,
        log_dir: &Path,
    ) -> Result<Option<MetaProperties>, MetaPropertiesError> {
        let path = log_dir.join(META_PROPERTIES_FILE);
        let bytes = match disk.read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut properties = parse(&String::from_utf8_lossy(&bytes));
        let invalid = |key, value: Option<String>| MetaPropertiesError::Invalid {
            path: path.clone(),
            key,
            value,
        };
        let version = properties.remove("version");
        let node_key = match version.as_deref() {
            Some("0") => "broker.id",
            Some("1") => "node.id",
            _ => return Err(invalid("version", version)),
        };
        let node_id = match properties.remove(node_key) {
            None => None,
            Some(text) => match text.parse::<i32>() {
                Ok(id) if id >= 0 => Some(NodeId(id)),
                _ => return Err(invalid(node_key, Some(text))),
            },
        };
        let directory_id = match properties.remove("directory.id") {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|_| invalid("directory.id", Some(text.clone())))?)
            }
        };
        let cluster_id = properties.remove("cluster.id");
        for (key, value) in [("cluster.id", cluster_id.is_none()), ("node.id", node_id.is_none())] {
            if value && node_key == "node.id" {
                return Err(invalid(key, None));
            }
        }
        Ok(Some(MetaProperties { cluster_id, node_id, directory_id, other: properties }))
    }

    /// In version 1.
    pub fn write(&self, disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
        let mut lines = self.other.clone();
        lines.insert("version".to_owned(), "1".to_owned());
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                lines.insert(key.to_owned(), value);
            }
        };
        set("cluster.id", self.cluster_id.clone());
        set("node.id", self.node_id.map(|id| id.to_string()));
        set("directory.id", self.directory_id.map(|id| id.to_string()));
        let text: String = lines
            .iter()
            .map(|(key, value)| format!("{}={}\n", escape(key), escape(value)))
            .collect();
        disk.replace(&log_dir.join(META_PROPERTIES_FILE), text.as_bytes())
    }
}

/// What of Java's properties format occurs in such a file: comments, separators, backslashes before single characters.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut key = String::new();
        let mut chars = line.chars();
        while let Some(next) = chars.next() {
            match next {
                '\\' => key.extend(chars.next()),
                '=' | ':' => break,
                other => key.push(other),
            }
        }
        let mut value = String::new();
        let mut rest = chars.as_str().trim_start().chars();
        while let Some(next) = rest.next() {
            value.extend(if next == '\\' { rest.next() } else { Some(next) });
        }
        properties.insert(key.trim_end().to_owned(), value);
    }
    properties
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for next in text.chars() {
        if matches!(next, '=' | ':' | '#' | '!' | '\\') {
            escaped.push('\\');
        }
        escaped.push(next);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_is_understood() {
        let text = "#\n#Sat Nov 21 02:51:17 UTC 2026\ncluster.id=a\\=b\nnode.id = 3\nversion:1\n";
        let parsed = parse(text);
        assert_eq!(parsed["cluster.id"], "a=b");
        assert_eq!(parsed["node.id"], "3");
        assert_eq!(parsed["version"], "1");
        assert_eq!(parse(&format!("x={}", escape("a=b\\c:#")))["x"], "a=b\\c:#");
    }
}
