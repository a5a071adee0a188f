//! What keeps this node from its quorum: said now and then for as long as it does.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ErrorCode;
use runtime::{Cx, Outcome};
use wire::DescribeClusterRequest;

use super::Raft;
use super::ask::{Lane, Question};
use crate::peer::{PeerAnswer, Unanswered};
use crate::rpc::QuorumResponse;

/// An election takes less.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Of the intervals without a leader, every so many is spoken of, and the first.
const SAID_EVERY: u64 = 6;
/// `EndpointType.CONTROLLER`
const CONTROLLERS: i8 = 2;

const NEWCOMER: &str = "; this voter began on empty directories, and until it has from the others what is committed it votes for nobody who holds more than it: start those that hold most; or, if nothing was lost, stop this one and say so by `ottla format` with --ignore-formatted";

#[derive(Default)]
pub(super) struct Search {
    /// A leader was, since the last look.
    found: bool,
    /// Looks in a row without one.
    looks: u64,
    troubles: BTreeMap<i32, Trouble>,
    /// What was said last, while there is no leader.
    pub(super) said: String,
}

enum Trouble {
    NoAnswer(String),
    /// With its id, where it tells.
    OtherCluster(Option<String>),
}

impl Raft {
    pub(super) fn leader_found(&mut self) {
        self.search.found = true;
        self.search.looks = 0;
        if !self.search.said.is_empty() {
            self.search.said.clear();
            self.publish_status();
        }
    }

    pub(super) fn look_for_leader(&mut self) {
        if self.consensus.is_leader() {
            self.leader_found();
        }
        if std::mem::take(&mut self.search.found) {
            return;
        }
        if self.search.looks.is_multiple_of(SAID_EVERY) {
            self.search.said = self.what_is_in_the_way();
            tracing::warn!("no leader of the metadata log is found: {}", self.search.said);
            self.publish_status();
        }
        self.search.looks += 1;
    }

    /// What an answer says of the node itself, whatever was asked.
    pub(super) fn note_answer(
        &mut self,
        cx: &mut Cx<Self>,
        from: i32,
        answer: &PeerAnswer,
    ) -> Outcome {
        let response = match answer {
            Ok(response) => response,
            Err(Unanswered::Overtaken) => return Ok(()),
            Err(Unanswered::Failed(why) | Unanswered::Refused(why)) => {
                self.search.troubles.insert(from, Trouble::NoAnswer(why.clone()));
                return Ok(());
            }
        };
        let code = match response {
            QuorumResponse::Fetch(response) => response.error_code,
            QuorumResponse::FetchSnapshot(response) => response.error_code,
            QuorumResponse::Vote(response) => response.error_code,
            QuorumResponse::BeginEpoch(response) => response.error_code,
            QuorumResponse::EndEpoch(response) => response.error_code,
            QuorumResponse::Cluster(response) => {
                let other = Some(response.cluster_id.clone()).filter(|id| !id.is_empty());
                if let Some(Trouble::OtherCluster(id)) = self.search.troubles.get_mut(&from) {
                    *id = other;
                }
                return Ok(());
            }
            _ => 0,
        };
        if ErrorCode::from_code(code) != ErrorCode::InconsistentClusterId {
            self.search.troubles.remove(&from);
            return Ok(());
        }
        if matches!(self.search.troubles.get(&from), Some(Trouble::OtherCluster(_))) {
            return Ok(());
        }
        self.search.troubles.insert(from, Trouble::OtherCluster(None));
        let request = DescribeClusterRequest { endpoint_type: CONTROLLERS, ..Default::default() };
        self.ask(cx, from, Lane::Elections, Question::Cluster, request.into())
    }

    fn what_is_in_the_way(&self) -> String {
        let own = &self.args.cluster_id;
        let mut others = None;
        let mut nodes = Vec::new();
        for id in self.who_may_know() {
            let who = match id {
                0.. => format!("voter {id}"),
                _ => "a bootstrap server".to_owned(),
            };
            let at =
                self.address_of(id).map_or("an unknown address".to_owned(), |at| at.to_string());
            let what = match self.search.troubles.get(&id) {
                None => "no error".to_owned(),
                Some(Trouble::NoAnswer(why)) => why.clone(),
                Some(Trouble::OtherCluster(other)) => {
                    let other = other.as_deref().unwrap_or("another");
                    others = Some(other);
                    format!("its cluster's id is {other}, this node's is {own}")
                }
            };
            nodes.push(format!("{who} at {at}: {what}"));
        }
        let dir = self.args.log_dir.path.display();
        let advice = match (others, self.args.derived_id) {
            (Some(other), true) => format!(
                "this node's id was derived from its cluster's file when {dir} was formatted: give [cluster] id = \"{other}\" there, and other directories if these hold nothing"
            ),
            (Some(_), false) => format!(
                "this node's id is that of {dir}/meta.properties: correct the addresses of the quorum, or give it other directories"
            ),
            (None, _) => "start them, or correct their addresses (controller.quorum.voters, controller.quorum.bootstrap.servers, or the file of the cluster)".to_owned(),
        };
        let new = match self.consensus.is_newcomer() {
            true => NEWCOMER,
            false => "",
        };
        format!("{}; {advice}{new}", nodes.join("; "))
    }
}
