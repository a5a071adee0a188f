//! Appends to a log while a pass over another one is under way, and while none is: docs/decisions/0007.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::harm::Harm;
use disk::Disk;
use ottla_log::{CleanedSegments, Compaction, Log, Progress};
use wire::batch::RecordBatch;

const APPEND_EVERY: Duration = Duration::from_micros(500);
const TURN: Duration = Duration::from_millis(25);
/// At the beginning of a turn: they meet what the one before has left in the processor's caches.
const NOT_COUNTED: usize = 4;
/// So many passes there are. The median of all ratios there could be lies with 96 % between the fourth and the twelfth of fifteen,
/// however they are distributed.
const PASSES: usize = 15;
const WITHIN: [usize; 2] = [3, 11];

/// What each of the passes told, in ascending order.
pub struct Spread([f64; PASSES]);

pub struct Ratios {
    /// Of the 99th percentile of appends without a pass to the same again: what the measure does by itself.
    pub again: Spread,
    /// Of that beside a pass to that without.
    pub beside: Spread,
    pub alone_us: Spread,
    /// Beside a pass.
    pub appends: usize,
    /// Of the passes, by their CPU time.
    pub mb_per_second: Spread,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Alone,
    Again,
    Beside,
}

#[derive(Default)]
struct Signals {
    goes_on: AtomicBool,
    rests: AtomicBool,
    over: AtomicBool,
}

impl Spread {
    fn new(mut told: [f64; PASSES]) -> Spread {
        told.sort_by(f64::total_cmp);
        Spread(told)
    }

    pub fn median(&self) -> f64 {
        self.0[PASSES / 2]
    }

    fn within(&self) -> [f64; 2] {
        WITHIN.map(|at| self.0[at])
    }
}

impl Display for Ratios {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Ratios { again, beside, alone_us, appends, .. } = self;
        write!(
            f,
            "{beside}; nothing again {again}; {alone_us} µs without; {appends} appends beside"
        )
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = if self.median() < 10.0 { 2 } else { 0 };
        let [low, high] = self.within();
        write!(f, "{:.digits$} ({low:.digits$} to {high:.digits$})", self.median())
    }
}

/// A pass, again and again: what `begin` gives begins it, and a log of `appended` is appended to beside it.
pub struct Bench<'a> {
    pub disk: &'a dyn Disk,
    pub batch: &'a RecordBatch,
    /// The passes do what slows appends.
    pub does_harm: bool,
    pub begin: &'a mut dyn FnMut() -> Result<Compaction, Box<dyn Error>>,
    pub appended: &'a mut dyn FnMut() -> Result<Log, Box<dyn Error>>,
}

/// What each append took, in microseconds, by kinds of turns; the rate of the pass.
type Told = ([Vec<f64>; 3], f64);

/// One pass beside appends.
struct Pass<'a> {
    disk: &'a dyn Disk,
    signals: Signals,
    does_harm: bool,
}

impl Bench<'_> {
    pub fn ratios(self) -> Result<Ratios, Box<dyn Error>> {
        let (mut us, mut rates) = ([[0.0; 3]; PASSES], [0.0; PASSES]);
        let (mut beside, mut random) = (0, 1);
        for (us, rate) in us.iter_mut().zip(&mut rates) {
            let mut log = (self.appended)()?;
            let dir = log.dir().to_owned();
            let signals = Signals::default();
            let pass = Pass { disk: self.disk, signals, does_harm: self.does_harm };
            let mut took_us;
            (took_us, *rate) = pass.beside((self.begin)()?, &mut log, self.batch, &mut random)?;
            beside += took_us[Turn::Beside as usize].len();
            *us = took_us.each_mut().map(|us| percentile_99(us));
            drop(log);
            self.disk.remove_dir_all(&dir)?;
        }
        let alone = |us: &[f64; 3]| us[Turn::Alone as usize];
        let ratio = |turn| Spread::new(us.map(|us| us[turn as usize] / alone(&us)));
        Ok(Ratios {
            again: ratio(Turn::Again),
            beside: ratio(Turn::Beside),
            alone_us: Spread::new(us.each_ref().map(alone)),
            appends: beside,
            mb_per_second: Spread::new(rates),
        })
    }
}

impl Pass<'_> {
    fn beside(
        &self,
        pass: Compaction,
        log: &mut Log,
        batch: &RecordBatch,
        random: &mut u64,
    ) -> Result<Told, Box<dyn Error>> {
        let mut took_us = [const { Vec::new() }; 3];
        let signals = &self.signals;
        let rate = thread::scope(|scope| {
            let cleaner = scope.spawn(|| {
                let cleaned = self.clean(pass).map_err(|error| error.to_string());
                signals.over.store(true, Ordering::Release);
                cleaned
            });
            let mut round = || -> Result<bool, Box<dyn Error>> {
                for turn in shuffled(random) {
                    let took_us = &mut took_us[turn as usize];
                    if turn != Turn::Beside {
                        append(log, batch, took_us, |after| after >= TURN)?;
                        continue;
                    }
                    signals.go_on(cleaner.thread());
                    append(log, batch, took_us, |after| {
                        signals.goes_on.fetch_and(after < TURN, Ordering::AcqRel);
                        after >= TURN && signals.is_still()
                    })?;
                }
                Ok(!signals.is_over())
            };
            let measured = loop {
                match round() {
                    Ok(true) => {}
                    ended => break ended,
                }
            };
            signals.goes_on.store(true, Ordering::Release);
            cleaner.thread().unpark();
            let rate = cleaner.join().map_err(|_| "the pass panicked")??;
            measured.map(|_| rate)
        })?;
        Ok((took_us, rate))
    }

    /// A piece of the pass whenever it may go on. What it gives is let go of, so that it can be done again.
    fn clean(&self, mut pass: Compaction) -> Result<f64, Box<dyn Error>> {
        let mut all = Vec::new();
        let mut harm = self.does_harm.then(Harm::default);
        let began = Instant::now();
        let before = super::cpu(self.disk, began);
        loop {
            self.signals.wait();
            match pass.run(|_| ControlFlow::Break(()))? {
                Progress::Paused => {}
                Progress::Cleaned(cleaned) => all.push(cleaned),
                Progress::Done { .. } => break,
            }
            if let Some(harm) = &mut harm {
                harm.do_some();
            }
        }
        let took = super::cpu(self.disk, began) - before;
        let rate = pass.stats().bytes_read as f64 / took / 1e6;
        all.into_iter().try_for_each(CleanedSegments::discard)?;
        Ok(rate)
    }
}

impl Signals {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn rests(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    fn is_still(&self) -> bool {
        self.rests() || self.is_over()
    }

    fn go_on(&self, cleaner: &Thread) {
        self.goes_on.store(true, Ordering::Release);
        cleaner.unpark();
        while self.rests() {
            thread::yield_now();
        }
    }

    fn wait(&self) {
        while !self.goes_on.load(Ordering::Acquire) {
            self.rests.store(true, Ordering::Release);
            thread::park();
        }
        self.rests.store(false, Ordering::Release);
    }
}

fn shuffled(random: &mut u64) -> [Turn; 3] {
    let mut turns = [Turn::Alone, Turn::Again, Turn::Beside];
    for at in [2, 1] {
        *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        turns.swap(at, (*random >> 33) as usize % (at + 1));
    }
    turns
}

/// Appends at a steady rate until it is to end; what each took, in microseconds.
fn append(
    log: &mut Log,
    batch: &RecordBatch,
    took_us: &mut Vec<f64>,
    ends: impl Fn(Duration) -> bool,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut due = APPEND_EVERY;
    let mut number = 0;
    while !ends(due) {
        while let Some(early) = due.checked_sub(began.elapsed()).filter(|early| !early.is_zero()) {
            thread::park_timeout(early);
        }
        let mut batch = batch.clone();
        batch.assign(log.log_end_offset(), 0);
        let before = Instant::now();
        log.append(&[batch], 0)?;
        number += 1;
        if number > NOT_COUNTED {
            took_us.push(before.elapsed().as_secs_f64() * 1e6);
        }
        due += APPEND_EVERY;
    }
    Ok(())
}

fn percentile_99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
