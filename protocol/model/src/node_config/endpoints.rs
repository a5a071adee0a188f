//! Addresses in settings: listeners, voters, bootstrap servers.

use std::fmt;

use crate::NodeId;
use crate::settings::SettingError;

/// A host and a port. An IPv6 address is kept without its brackets; an empty host means every address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    /// Reads `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; says what is wrong with it.
    pub fn parse(text: &str) -> Result<HostPort, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT is expected")?;
        let is_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_digits).ok_or("the port must be 0 to 65535")?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or("a bracket is not closed")?,
            None if host.contains(':') => return Err("an IPv6 address needs [brackets]"),
            None => host,
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
        if !host.chars().all(legal) {
            return Err("the host has a character that no host may have");
        }
        Ok(HostPort::new(host, port))
    }

    /// Whether the host stands for every address of the machine.
    pub fn is_any(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A listener, or what clients are told of one. Its protocol is PLAINTEXT, the only one this build speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// In upper case.
    pub name: String,
    pub address: HostPort,
}

impl Endpoint {
    pub(super) fn parse_list(
        setting: &str,
        texts: &[String],
    ) -> Result<Vec<Endpoint>, SettingError> {
        texts.iter().map(|text| Endpoint::parse(setting, text)).collect()
    }

    fn parse(setting: &str, text: &str) -> Result<Endpoint, SettingError> {
        let refused = |reason: &str| {
            SettingError::invalid(setting, text, format!("NAME://HOST:PORT is expected: {reason}"))
        };
        let (name, address) = text.split_once("://").ok_or_else(|| refused("there is no ://"))?;
        let is_name_character = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_name_character) {
            return Err(refused("the name may have letters, digits, '_' and '-'"));
        }
        let address = HostPort::parse(address).map_err(refused)?;
        Ok(Endpoint { name: name.to_ascii_uppercase(), address })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

/// A voter of a fixed quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub id: NodeId,
    pub address: HostPort,
}

impl Voter {
    pub(super) fn parse_list(texts: &[String]) -> Result<Vec<Voter>, SettingError> {
        let mut voters: Vec<Voter> = Vec::new();
        for text in texts {
            let voter = Voter::parse(text)?;
            if voters.iter().any(|other| other.id == voter.id) {
                return Err(refused_voter(text, "this id is given twice"));
            }
            voters.push(voter);
        }
        Ok(voters)
    }

    fn parse(text: &str) -> Result<Voter, SettingError> {
        let (id, address) =
            text.split_once('@').ok_or_else(|| refused_voter(text, "there is no @"))?;
        let is_digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let id = id.parse().ok().filter(|_| is_digits);
        let id = id.ok_or_else(|| refused_voter(text, "the id must be 0 or more"))?;
        let address = HostPort::parse(address).map_err(|reason| refused_voter(text, reason))?;
        if address.is_any() {
            return Err(refused_voter(text, "the host must be one that others can reach"));
        }
        Ok(Voter { id: NodeId(id), address })
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

fn refused_voter(text: &str, reason: &str) -> SettingError {
    let reason = format!("ID@HOST:PORT is expected: {reason}");
    SettingError::invalid("controller.quorum.voters", text, reason)
}
