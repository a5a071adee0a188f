//! Bytes <-> types: every RPC and record schema of Kafka, record batches and codecs. Pure.
