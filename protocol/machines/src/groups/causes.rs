//! Why a group is as it is: whom it waits for, and when each offset was committed.

use wire::describe_causes_response::{CausesCommit, CausesCommits, CausesGroup, CausesMember};

use super::classic::{ClassicGroup, Member, State};
use super::shard::{Group, GroupShard, GroupType};

/// So much is told of one group.
const MOST_MEMBERS: usize = 100;
const MOST_COMMITS: usize = 10_000;
/// Of what clients name so many characters.
const MOST_CHARACTERS: usize = 200;
const DEAD: &str = "Dead";

pub fn of(shard: &GroupShard, group_id: &str) -> CausesGroup {
    let mut told = match shard.groups.get(group_id) {
        Some(Group::Classic(group)) => classic(group),
        Some(Group::Other(of)) => CausesGroup { group_type: of.to_string(), ..Default::default() },
        None => CausesGroup { state: DEAD.to_owned(), ..Default::default() },
    };
    let mut left = MOST_COMMITS;
    for (topic, partitions) in shard.offsets.group(group_id).into_iter().flatten() {
        told.commit_count = told.commit_count.saturating_add(count(partitions.len()));
        let some = partitions.iter().take(left).map(|(index, committed)| CausesCommit {
            partition_index: *index,
            offset: committed.offset,
            commit_ms: committed.commit_ms,
            ..Default::default()
        });
        let partitions: Vec<CausesCommit> = some.collect();
        left -= partitions.len();
        if !partitions.is_empty() {
            let topic = topic.clone();
            told.commits.push(CausesCommits { topic, partitions, ..Default::default() });
        }
    }
    told
}

fn classic(group: &ClassicGroup) -> CausesGroup {
    let mut members: Vec<&Member> = group.members.values().map(|member| &**member).collect();
    members.sort_by_key(|member| (!is_waited_for(group, member), !group.is_leader(&member.id)));
    CausesGroup {
        group_type: GroupType::Classic.to_string(),
        state: group.state.to_string(),
        state_ms: group.state_since_ms.unwrap_or(-1),
        generation: group.generation,
        newcomers: group.initial_delay.is_some(),
        pending_joins: count(group.pending_joins.size()),
        member_count: count(members.len()),
        members: members.iter().take(MOST_MEMBERS).map(|m| of_member(group, m)).collect(),
        ..Default::default()
    }
}

fn is_waited_for(group: &ClassicGroup, member: &Member) -> bool {
    match group.state {
        State::PreparingRebalance => member.awaiting_join.is_none(),
        State::CompletingRebalance | State::Stable => group.pending_syncs.contains(&member.id),
        State::Empty => false,
    }
}

fn of_member(group: &ClassicGroup, member: &Member) -> CausesMember {
    CausesMember {
        member_id: shortened(&member.id),
        instance_id: member.instance_id.as_deref().map(shortened),
        client_id: shortened(&member.client_id),
        client_host: shortened(&member.client_host),
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        is_leader: group.is_leader(&member.id),
        joined: member.awaiting_join.is_some(),
        synced: !group.pending_syncs.contains(&member.id),
        ..Default::default()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

fn count(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::rig::*;
    use super::super::*;
    use super::*;

    fn told(rig: &mut Rig, group_id: &str) -> CausesGroup {
        let ticket = rig.send(GroupRequest::Causes { group_id: group_id.to_owned() });
        match rig.reply(ticket) {
            Some(GroupReply::Causes(told)) => *told,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn those_who_are_waited_for_come_first() {
        let mut rig = Rig::new();
        let ids = rig.stable(3);
        rig.send(offsets::tests::commit(&ids[0], None, 1, 0));
        let stable = told(&mut rig, GROUP);
        assert_eq!((stable.state.as_str(), stable.member_count), ("Stable", 3));
        assert_eq!(stable.commit_count, 1);
        assert_eq!(stable.commits[0].partitions[0].offset, 42);
        let since = rig.now.wall_ms;
        rig.join(&dynamic(&ids[0]));
        rig.join(&dynamic(&ids[1]));
        let rebalances = told(&mut rig, GROUP);
        assert_eq!(rebalances.state, "PreparingRebalance");
        assert_eq!((rebalances.state_ms, rebalances.newcomers), (since, false));
        let members: Vec<_> =
            rebalances.members.iter().map(|m| (&*m.member_id, m.joined)).collect();
        assert_eq!(members[0], (&*ids[2], false));
        assert!(members[1..].iter().all(|(_, joined)| *joined), "{members:?}");
        assert_eq!(rebalances.members[0].rebalance_timeout_ms, REBALANCE_MS);
        assert_eq!(told(&mut rig, "nothing").state, "Dead");
    }
}
