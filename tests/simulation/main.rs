//! Whole nodes under a seed: the real actors on simulated clocks, networks, disks and schedules, through faults of all kinds.

mod boot;
