//! What is done when a disk fills: a ladder, climbed down again by itself.

use disk::Space;
use model::node_config::RoomConfig;

/// How much room there is on a log directory's disk. Each rung keeps the measures of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    Enough,
    /// It is warned of.
    Low,
    /// What may go early goes.
    Short,
    /// Producers to user topics are refused, and their followers here fetch nothing.
    Full,
}

impl Room {
    const LADDER: [Room; 4] = [Room::Enough, Room::Low, Room::Short, Room::Full];

    pub(crate) fn from_number(number: u8) -> Room {
        Room::LADDER.get(usize::from(number)).copied().unwrap_or(Room::Enough)
    }

    /// What is done about it, for people.
    pub(crate) fn measures(self) -> &'static str {
        match self {
            Room::Enough => "enough room",
            Room::Low => "LOW ON ROOM",
            Room::Short => "SHORT OF ROOM: what may go early goes",
            Room::Full => "FULL: producers to user topics are refused",
        }
    }
}

/// So many files a disk must be able to take for each rung, as a partition has some eight, but no more than the share of all that
/// the same rung wants of its bytes.
const FILES: [u64; 3] = [1_000, 4_000, 10_000];

/// The rung for this much space. One that was reached is left only when a tenth more than its mark is free, so that clients are
/// not let in and out all the time.
pub(crate) fn rung(config: &RoomConfig, space: Space, before: Room) -> Room {
    let marks = [
        (Room::Full, config.refuse_free_bytes, 40),
        (Room::Short, config.retain_free_bytes, 20),
        (Room::Low, config.warn_free_bytes, 10),
    ];
    let below = |usable: u64, mark: u64, rung| {
        let slack = if before >= rung { mark / 10 } else { 0 };
        usable < mark + slack
    };
    let reached = |((rung, bytes, share), files): &((Room, u64, u64), u64)| {
        let few =
            *bytes > 0 && below(space.usable_files, (*files).min(space.total_files / share), *rung);
        few || below(space.usable_bytes, (*bytes).min(space.total_bytes / share), *rung)
    };
    let found = marks.into_iter().zip(FILES).find(reached);
    found.map_or(Room::Enough, |((rung, ..), _)| rung)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(warn: u64, retain: u64, refuse: u64) -> RoomConfig {
        RoomConfig {
            warn_free_bytes: warn,
            retain_free_bytes: retain,
            refuse_free_bytes: refuse,
            ..RoomConfig::new(&Default::default())
        }
    }

    fn bytes(total_bytes: u64, usable_bytes: u64) -> Space {
        Space { total_bytes, usable_bytes, total_files: 0, usable_files: 0 }
    }

    #[test]
    fn a_rung_is_reached_at_its_mark_and_left_a_tenth_above_it() {
        let config = config(2000, 1000, 100);
        let at = |usable_bytes, before| rung(&config, bytes(1 << 40, usable_bytes), before);
        for (free, before, expected) in [
            (2000, Room::Enough, Room::Enough),
            (1999, Room::Enough, Room::Low),
            (2199, Room::Low, Room::Low),
            (2200, Room::Low, Room::Enough),
            (999, Room::Low, Room::Short),
            (99, Room::Enough, Room::Full),
            (109, Room::Full, Room::Full),
            (110, Room::Full, Room::Short),
            (5000, Room::Full, Room::Enough),
        ] {
            assert_eq!(at(free, before), expected, "{free} after {before:?}");
        }
    }

    #[test]
    fn on_a_small_disk_the_marks_are_shares_of_it() {
        let config = config(1 << 40, 1 << 40, 1 << 40);
        let at = |usable_bytes| rung(&config, bytes(4000, usable_bytes), Room::Enough);
        assert_eq!([400, 399, 199, 99].map(at), Room::LADDER);
    }

    #[test]
    fn a_mark_of_0_is_never_reached() {
        let space = Space { total_files: 4000, ..bytes(4000, 0) };
        assert_eq!(rung(&config(0, 0, 0), space, Room::Enough), Room::Enough);
    }

    /// A segment is begun with files, too.
    #[test]
    fn a_disk_may_have_bytes_left_and_no_files() {
        let config = config(2000, 1000, 100);
        let at = |usable_files, total_files, before| {
            let space = Space { total_files, usable_files, ..bytes(1 << 40, 1 << 30) };
            rung(&config, space, before)
        };
        for (free, of, before, expected) in [
            (10_000, 1 << 20, Room::Enough, Room::Enough),
            (9_999, 1 << 20, Room::Enough, Room::Low),
            (3_999, 1 << 20, Room::Low, Room::Short),
            (999, 1 << 20, Room::Short, Room::Full),
            (1_099, 1 << 20, Room::Full, Room::Full),
            (1_100, 1 << 20, Room::Full, Room::Short),
            (99, 4_000, Room::Enough, Room::Full),
            (0, 0, Room::Enough, Room::Enough),
        ] {
            assert_eq!(at(free, of, before), expected, "{free} of {of} after {before:?}");
        }
    }
}
