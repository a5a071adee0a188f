//! What a node does with what reaches it: as raft does with the log, the disk and its peers.

use super::*;

fn versions_of(index: usize) -> Event {
    let supported = Ok(Some(LevelRange { min: 0, max: 1 }));
    Event::VersionsTold { by: key(index).id, supported }
}

impl World {
    pub(super) fn deliver(&mut self, to: usize, message: Message) {
        if let Message::Restart = message {
            return self.boot(to);
        }
        if self.nodes[to].machine.is_none() {
            return self.find_nobody(to, message);
        }
        let life = self.nodes[to].life;
        match message {
            Message::Vote { from, request } => {
                self.step(to, Event::VoteRequested { ticket: from as u64, request });
            }
            Message::Voted { from, answer } => {
                self.step(to, Event::VoteAnswered { from: key(from), answer });
            }
            Message::Lost { by } => self.step(to, Event::Unanswered { by: key(by) }),
            Message::Leads { from, epoch } => {
                self.step(to, Event::LeaderAnnounced { leader_id: key(from).id, epoch });
            }
            Message::Resigned { from, epoch, successors } => {
                let leader_id = key(from).id;
                self.step(to, Event::LeaderResigned { leader_id, epoch, successors });
                self.send(to, from, Message::Taken { from: to });
            }
            Message::Taken { from } => self.step(to, Event::ResignationTaken { by: key(from) }),
            Message::Fetch { from, number, epoch, offset, last_epoch } => {
                let found = self.find(to, from, epoch, offset, last_epoch);
                let Some(machine) = &self.nodes[to].machine else { return };
                let (leader_id, epoch) = (machine.leader_id(), machine.epoch());
                let answer = Message::Fetched { number, leader_id, epoch, found };
                self.send(to, from, answer);
            }
            Message::Unanswered { number } => {
                if self.nodes[to].fetching == Some(number) {
                    self.nodes[to].fetching = None;
                    self.fetch(to);
                }
            }
            Message::Refused { by, number, epoch } => {
                self.step(to, Event::LeaderGone { leader_id: key(by).id, epoch });
                self.at(20, to, Message::Unanswered { number });
            }
            Message::Fetched { number, leader_id, epoch, found } => {
                if self.nodes[to].fetching == Some(number) {
                    self.step(to, Event::Heard { leader_id, epoch });
                    self.nodes[to].fetching = None;
                    self.take(to, leader_id, epoch, found);
                }
            }
            Message::Versions { of } => self.step(to, versions_of(of)),
            Message::Flushed { life: of, end } if of == life => {
                let node = &mut self.nodes[to];
                let end = end.min(node.log.len());
                node.durable = node.durable.max(end);
                self.step(to, Event::Flushed { end_offset: end as i64 });
            }
            Message::Wake { life: of } if of == life => self.step(to, Event::Tick),
            Message::Stop { life: of } if of == life => self.crash(to),
            Message::Flushed { .. }
            | Message::Wake { .. }
            | Message::Stop { .. }
            | Message::Restart => {}
        }
    }

    fn find_nobody(&mut self, to: usize, message: Message) {
        match message {
            Message::Fetch { from, number, epoch, .. } if self.fast => {
                self.at(1, from, Message::Refused { by: to, number, epoch });
            }
            Message::Vote { from, .. }
            | Message::Resigned { from, .. }
            | Message::Fetch { from, .. } => self.lose(from, to, message),
            _ => {}
        }
    }

    fn find(
        &mut self,
        leader: usize,
        from: usize,
        epoch: i32,
        offset: usize,
        last_epoch: i32,
    ) -> Option<Found> {
        let node = &self.nodes[leader];
        let machine = node.machine.as_ref()?;
        if !machine.is_leader() || machine.epoch() != epoch {
            return None;
        }
        let bounds = LogBounds { start_offset: 0, earliest_snapshot: None, latest_snapshot: None };
        let judged = bounds.judge(offset as i64, last_epoch, |epoch| end_of(&node.log, epoch));
        let (diverging, entries) = match judged {
            FetchPosition::Valid => {
                let most = 1 + self.below(4) as usize;
                self.step(leader, Event::Fetched { replica: key(from), offset: offset as i64 });
                let log = &self.nodes[leader].log;
                (None, log[offset..].iter().copied().take(most).collect())
            }
            FetchPosition::Diverging(end) => (Some(end), Vec::new()),
            FetchPosition::Snapshot(id) => panic!("there are no snapshots here: {id:?}"),
        };
        let machine = self.nodes[leader].machine.as_ref()?;
        let high_watermark = machine.led_high_watermark().unwrap_or(-1);
        Some(Found { diverging, entries, high_watermark })
    }

    fn take(&mut self, to: usize, leader_id: Option<i32>, epoch: i32, found: Option<Found>) {
        let node = &mut self.nodes[to];
        let Some(machine) = &node.machine else { return };
        let follows = matches!(machine.role(), Role::Follower { .. })
            && machine.epoch() == epoch
            && machine.leader_id() == leader_id;
        let Some(found) = found.filter(|_| follows) else { return self.fetch(to) };
        if let Some(end) = found.diverging {
            let offset = truncation_offset(end, |epoch| end_of(&node.log, epoch));
            assert!(offset >= node.high_watermark, "what is committed would be cut off");
            node.log.truncate(offset as usize);
            node.durable = node.durable.min(node.log.len());
            let end = node.end();
            self.step(to, Event::Truncated { end });
            let voters = self.voters_of(to);
            self.step(to, Event::VotersChanged { voters });
            self.step(to, Event::FetchAnswered { high_watermark: None });
            return;
        }
        if !found.entries.is_empty() {
            let changed = found.entries.iter().any(|entry| entry.voters.is_some());
            node.log.extend(found.entries);
            let end = node.end();
            self.flush(to);
            self.step(to, Event::Appended { end });
            if changed {
                let voters = self.voters_of(to);
                self.step(to, Event::VotersChanged { voters });
            }
        }
        let high_watermark = Some(found.high_watermark).filter(|offset| *offset >= 0);
        let known = self.nodes[to].high_watermark;
        assert!(high_watermark.is_none_or(|told| told >= known), "node {to} knew of {known}");
        self.step(to, Event::FetchAnswered { high_watermark });
    }
}
