//! Whole nodes under a seed: the real actors on simulated clocks, networks, disks and schedules, through faults of all kinds.

mod boot;
mod broker;
mod chance;
mod checkpoints;
mod cluster;
mod cold;
mod compaction;
mod connections;
mod cuts;
mod directories;
mod failover;
mod faults;
mod forwarding;
mod full_disk;
mod given_up;
mod gone;
mod history;
mod requests;
mod seeds;
mod settings;
mod silence;
mod stopping;
mod twins;
mod wire_client;
mod workload;
mod world;
