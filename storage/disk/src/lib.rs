//! The sole user of the file system: a real disk, and a simulated one with faults.
