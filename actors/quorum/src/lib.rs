//! The metadata plane: raft, controller, metadata publisher, broker lifecycle.

mod assignments;
mod controller;
mod files;
mod format;
mod handle;
mod history;
mod isr;
mod lifecycle;
mod peer;
mod publisher;
mod raft;
mod reach;
mod registrar;
mod remote;
mod rpc;
mod snapshot;

pub use client::Origin;

pub use assignments::{AssignmentsArgs, AssignmentsMsg, DirectoryAssignments};
pub use controller::{
    Committed, ControllerActor, ControllerAnswer, ControllerArgs, ControllerHandle, ControllerMsg,
    Unavailable,
};
pub use files::{METADATA_DIR, QuorumStateError, read_quorum_state};
pub use format::{FormatError, FormatSpec, Formatted, format_directories, load_directories};
pub use handle::QuorumHandle;
pub use history::{BrokerSince, History, LogPlace, OutOfSync, PartitionKey, PartitionSince};
pub use isr::{AlterIsr, AlterIsrArgs, AlterIsrMsg};
pub use lifecycle::{Lifecycle, LifecycleArgs, LifecycleMsg, LifecycleState};
pub use publisher::{MetadataPublisher, PublisherArgs, PublisherMsg};
pub use raft::{
    Asked, MetadataRetention, Question, Raft, RaftArgs, RaftError, RaftEvent, RaftMsg, RaftStatus,
    Sink,
};
pub use reach::Process;
pub use registrar::{Registrar, RegistrarArgs, RegistrarMsg};
pub use rpc::{OtherResponse, QuorumRequest, QuorumResponse};
pub use snapshot::{SnapshotError, read_bootstrap};
