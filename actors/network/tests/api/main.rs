//! The APIs over a real socket, on a real disk.
#![allow(clippy::unwrap_used)]

mod failures;
mod fetch;
mod lookups;
mod produce;
mod rig;
