//! Coordinator shards: replicated machines on internal topics.
