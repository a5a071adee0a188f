//! Whatever members do and in whatever order, the rig's invariants hold: no reply is owed that nobody waits for, and the
//! log alone tells of every agreement.

use proptest::prelude::*;

use crate::groups::rig::*;
use crate::groups::{GroupReply, GroupRequest, GroupSettings};

#[derive(Debug, Clone)]
enum Step {
    JoinNew { old: bool, protocols: usize },
    JoinStatic { instance: usize, protocols: usize },
    Rejoin { member: usize, protocols: usize },
    Sync { member: usize, stale: bool },
    Heartbeat { member: usize },
    Leave { member: usize },
    Commit { member: usize, partition: i32 },
    Delete,
    FailOver,
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 0..4usize).prop_map(|(old, protocols)| Step::JoinNew { old, protocols }),
        3 => (0..3usize, 0..4usize)
            .prop_map(|(instance, protocols)| Step::JoinStatic { instance, protocols }),
        6 => (0..9usize, 0..4usize).prop_map(|(member, protocols)| Step::Rejoin { member, protocols }),
        8 => (0..9usize, any::<bool>()).prop_map(|(member, stale)| Step::Sync { member, stale }),
        3 => (0..9usize).prop_map(|member| Step::Heartbeat { member }),
        2 => (0..9usize).prop_map(|member| Step::Leave { member }),
        2 => (0..9usize, 0..3).prop_map(|(member, partition)| Step::Commit { member, partition }),
        1 => Just(Step::Delete),
        1 => Just(Step::FailOver),
        5 => prop_oneof![Just(100u64), Just(3_000), Just(11_000), Just(61_000)]
            .prop_map(|ms| Step::Wait { ms }),
    ]
}

const PROTOCOLS: [&[&str]; 4] =
    [&["range"], &["range", "sticky"], &["sticky", "range"], &["sticky"]];

/// The ids that the group knows, and one that it does not.
fn member(rig: &Rig, index: usize) -> (String, Option<String>) {
    let Some(crate::groups::Group::Classic(group)) = rig.shard.group(GROUP) else {
        return ("stranger".into(), None);
    };
    let members = group.members.values().map(|m| (m.id.to_string(), m.instance_id.clone()));
    let pending = group.pending_joins.keys().map(|id| (id.to_string(), None));
    let mut known: Vec<_> = members.chain(pending).collect();
    known.push(("stranger".into(), None));
    known.swap_remove(index % known.len())
}

fn perform(rig: &mut Rig, step: Step) {
    match step {
        Step::JoinNew { old, protocols } => {
            let who = dynamic("").knowing(PROTOCOLS[protocols]);
            rig.join(&who.version(if old { 3 } else { 9 }));
        }
        Step::JoinStatic { instance, protocols } => {
            rig.join(&fixed(["a", "b", "c"][instance]).knowing(PROTOCOLS[protocols]));
        }
        Step::Rejoin { member: index, protocols } => {
            let (member_id, instance_id) = member(rig, index);
            let who = dynamic(&member_id).knowing(PROTOCOLS[protocols]);
            rig.join(&Who { instance_id, ..who });
        }
        Step::Sync { member: index, stale } if rig.shard.group(GROUP).is_some() => {
            let (member_id, _) = member(rig, index);
            let generation = rig.classic().generation - i32::from(stale);
            let ids: Vec<_> = rig.classic().members.keys().cloned().collect();
            let parts: Vec<(&str, &str)> = ids.iter().map(|id| (&**id, "part")).collect();
            rig.sync(&member_id, generation, &parts);
        }
        Step::Heartbeat { member: index } if rig.shard.group(GROUP).is_some() => {
            let generation = rig.classic().generation;
            rig.heartbeat(&member(rig, index).0, generation);
        }
        Step::Sync { .. } | Step::Heartbeat { .. } => {}
        Step::Leave { member: index } => {
            rig.leave(&member(rig, index).0);
        }
        Step::Commit { member: index, partition } => {
            let (member_id, instance_id) = member(rig, index);
            let generation = match rig.shard.group(GROUP) {
                Some(crate::groups::Group::Classic(group)) => group.generation,
                _ => -1,
            };
            rig.send(crate::groups::offsets::tests::commit(
                &member_id,
                instance_id,
                generation,
                partition,
            ));
        }
        Step::Delete => {
            let ticket = rig.send(GroupRequest::Delete { group_ids: vec![GROUP.into()] });
            assert!(matches!(rig.reply(ticket), Some(GroupReply::Delete(_))));
        }
        Step::FailOver => rig.fail_over(),
        Step::Wait { ms } => rig.advance(ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn the_log_tells_all_and_no_reply_is_forgotten(
        steps in proptest::collection::vec(step(), 1..60),
        max_size in 1..6usize,
    ) {
        let mut rig = Rig::with(GroupSettings { max_size, ..Default::default() });
        for step in steps {
            perform(&mut rig, step);
        }
        // Left alone, every group comes to rest, and nobody waits.
        rig.advance(60 * 60_000);
        if let Some(crate::groups::Group::Classic(group)) = rig.shard.group(GROUP) {
            prop_assert!(group.members.is_empty(), "{:?}", group);
            prop_assert!(group.pending_joins.is_empty());
        }
    }
}
