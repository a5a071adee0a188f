//! A broker's process, and what it has spent.

use std::io::{Error, Result};
use std::str::FromStr;

#[derive(Clone, Debug)]
pub struct Broker {
    pub name: String,
    pub address: String,
    pub pid: u32,
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Broker, String> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (address, pid) = rest.rsplit_once('@')?;
            Some((name, address, pid.parse().ok()?))
        });
        let (name, address, pid) = parts.ok_or("not NAME=HOST:PORT@PID")?;
        Ok(Broker { name: name.to_owned(), address: address.to_owned(), pid })
    }
}

/// CPU seconds of all threads of a process.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub user: f64,
    pub system: f64,
}

impl Spent {
    pub fn sum(self) -> f64 {
        self.user + self.system
    }

    pub fn since(self, before: Spent) -> Spent {
        Spent { user: self.user - before.user, system: self.system - before.system }
    }

    pub fn per(self, gb: f64) -> Spent {
        Spent { user: self.user / gb, system: self.system / gb }
    }
}

impl Broker {
    /// Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    pub fn spent(&self) -> Result<Spent> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |at: usize| {
            let field = behind_name.split_whitespace().nth(at)?;
            field.parse::<f64>().ok()
        };
        match (ticks(11), ticks(12)) {
            (Some(user), Some(system)) => Ok(Spent { user: user / 100.0, system: system / 100.0 }),
            _ => Err(Error::other(format!("/proc/{}/stat has no times", self.pid))),
        }
    }

    pub fn resident_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kb.map(|kb| kb * 1024.0 / 1e6)
            .ok_or_else(|| Error::other(format!("/proc/{}/status has no VmRSS", self.pid)))
    }
}
