//! A Kafka client: connections, producer, consumer, admin.
