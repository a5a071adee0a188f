//! Partition actors, log dirs, and the directory through which others find them.
