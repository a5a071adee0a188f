//! Transactions.

use crate::settings::setting::Check::{Any, AtLeast};
use crate::settings::setting::{Area, settings};

pub(super) const TRANSACTIONS: Area = Area {
    title: "Transactions",
    settings: settings! {
        Int "transactional.id.expiration.ms" = "604800000", AtLeast(1), Node:
            "How long an unused transactional id is remembered.";
        Int "transaction.max.timeout.ms" = "900000", AtLeast(1), Node:
            "The longest transaction timeout a producer may ask for.";
        Int "transaction.state.log.num.partitions" = "50", AtLeast(1), Node + honoured:
            "Partitions of __transaction_state.";
        Short "transaction.state.log.replication.factor" = "3", AtLeast(1), Node + honoured:
            "Replicas of __transaction_state; while there are fewer brokers it is not created.";
        Int "transaction.state.log.min.isr" = "2", AtLeast(1), Node + honoured:
            "The min.insync.replicas of __transaction_state.";
        Int "transaction.state.log.segment.bytes" = "104857600", AtLeast(1), Node + honoured:
            "The segment size of __transaction_state.";
        Int "transaction.state.log.load.buffer.size" = "5242880", AtLeast(1), Node:
            "How much of a transaction partition is read at a time while it is loaded.";
        Int "transaction.abort.timed.out.transaction.cleanup.interval.ms" = "10000", AtLeast(1), Node:
            "How often transactions past their timeout are looked for and aborted.";
        Int "transaction.remove.expired.transaction.cleanup.interval.ms" = "3600000", AtLeast(1), Node:
            "How often expired transactional ids are looked for.";
        Boolean "transaction.partition.verification.enable" = "true", Any, Cluster:
            "Whether a partition asks the coordinator if a transaction is open before it takes its records.";
        Boolean "transaction.two.phase.commit.enable" = "false", Any, Node:
            "Whether producers may keep prepared transactions open without a timeout.";
        Int "add.partitions.to.txn.retry.backoff.ms" = "20", AtLeast(1), Node:
            "How long the broker waits before it tries again to add a partition to a transaction for its client.";
        Int "add.partitions.to.txn.retry.backoff.max.ms" = "100", AtLeast(0), Node:
            "How long such tries go on within one request.";
    },
};
