//! The metadata plane: raft, controller, metadata publisher, broker lifecycle.
