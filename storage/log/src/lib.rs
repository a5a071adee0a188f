//! A partition's log: segments, indexes, recovery, checkpoints. Kafka's files, to the byte.
