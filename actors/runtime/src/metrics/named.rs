//! Actors as people name them: by their path, or by as much of its end as tells them from the others.

use std::sync::Arc;

use super::{Entry, Registry, Status, lock};
use crate::fault::Fault;

/// So many are told of where a name is that of several.
const FEW: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchActor {
    #[error("there is no actor {name:?}{}", meant(.nearest.as_deref()))]
    None { name: String, nearest: Option<String> },
    #[error("{name:?} is the name of {count} actors: {}", few(.paths, *.count))]
    Several { name: String, count: usize, paths: Vec<String> },
    #[error("{path} does not run: it is {status}")]
    Down { path: String, status: &'static str },
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean {nearest:?}?")).unwrap_or_default()
}

fn few(paths: &[String], count: usize) -> String {
    let more = if count > paths.len() { ", ..." } else { "" };
    format!("{}{more}", paths.join(", "))
}

fn is_named(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

impl Registry {
    /// Which of several nodes' registries has an actor of this name, with its path.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find<'a>(
        all: impl IntoIterator<Item = &'a Registry>,
        name: &str,
    ) -> Result<(usize, String), NoSuchActor> {
        let all: Vec<_> = all.into_iter().collect();
        if let Some(at) = all.iter().position(|its| its.entry(name).is_some()) {
            return Ok((at, name.to_owned()));
        }
        let all: Vec<_> = all.into_iter().map(Registry::paths).collect();
        let paths = || {
            all.iter().enumerate().flat_map(|(at, its)| its.iter().map(move |path| (at, &**path)))
        };
        let so_named: Vec<_> = paths().filter(|(_, path)| is_named(path, name)).collect();
        if let [(at, path)] = so_named[..] {
            return Ok((at, path.to_owned()));
        }
        let name = name.to_owned();
        if so_named.is_empty() {
            let ends = paths().map(|(_, path)| path.rsplit('/').next().unwrap_or(path));
            let nearest = model::settings::nearest(&name, ends.chain(paths().map(|(_, p)| p)));
            return Err(NoSuchActor::None { nearest: nearest.map(str::to_owned), name });
        }
        let few = so_named.iter().take(FEW).map(|(_, path)| (*path).to_owned()).collect();
        Err(NoSuchActor::Several { name, count: so_named.len(), paths: few })
    }

    fn paths(&self) -> Vec<Arc<str>> {
        lock(&self.0.actors).keys().cloned().collect()
    }

    pub(super) fn entry(&self, path: &str) -> Option<Arc<Entry>> {
        lock(&self.0.actors).get(path).cloned()
    }

    /// Lets this befall the actor at a path.
    ///
    /// # Errors
    /// It is gone, or does not run.
    pub fn fault(&self, path: &str, fault: Fault) -> Result<(), NoSuchActor> {
        let gone = || NoSuchActor::None { name: path.to_owned(), nearest: None };
        let entry = self.entry(path).ok_or_else(gone)?;
        let state = lock(&entry.state);
        let down = |status| Err(NoSuchActor::Down { path: path.to_owned(), status });
        let (Status::Running, Some(stats), Some(hands)) =
            (state.status, &state.stats, &state.hands)
        else {
            return down(state.status.name());
        };
        if hands.is_ending() {
            return down("ending");
        }
        let fault = fault.bounded();
        tracing::warn!(path, ?fault, "a fault is set on purpose");
        match fault {
            Fault::Kill => hands.kill(),
            fault => stats.fault(fault, self.0.clock.mono()),
        }
        drop(state);
        self.0.noted.note(&entry);
        Ok(())
    }
}
