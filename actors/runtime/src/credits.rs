use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use crate::metrics::Gauge;

/// A budget (bytes, counts) that many draw from. Mailboxes have no bound of their own: what a peer can cause carries a
/// [`Credit`] taken before its bytes are read.
#[derive(Debug, Clone)]
pub struct Credits {
    pool: Arc<Pool>,
    /// Whose what is taken this way counts as.
    holder: Option<Gauge>,
}

#[derive(Debug)]
struct Pool {
    free: Semaphore,
    limit: u64,
    waits: AtomicU64,
    above: Option<Credits>,
}

impl Credits {
    pub fn new(limit: u64) -> Credits {
        Self::build(limit, None)
    }

    /// A part of this budget: what is taken from it is taken from this one too.
    pub fn nested(&self, limit: u64) -> Credits {
        Self::build(limit, Some(self.clone()))
    }

    fn build(limit: u64, above: Option<Credits>) -> Credits {
        let limit = limit.min(Semaphore::MAX_PERMITS as u64);
        let free = Semaphore::new(limit as usize);
        let pool = Arc::new(Pool { free, limit, waits: AtomicU64::new(0), above });
        Credits { pool, holder: None }
    }

    /// The same budget, where what is taken is counted until it is given back.
    pub(crate) fn counted_in(&self, holder: &Gauge) -> Credits {
        Credits { pool: self.pool.clone(), holder: Some(holder.clone()) }
    }

    fn taken(&self, own: u32) -> Credit {
        if let Some(holder) = &self.holder {
            holder.add(own.into());
        }
        Credit { from: self.clone(), own, above: None }
    }

    /// Takes `n` if they are free here and above. More than the limit counts as the limit: one oversized thing passes alone.
    pub fn try_take(&self, n: u32) -> Option<Credit> {
        let own = self.capped(n);
        self.pool.free.try_acquire_many(own).ok()?.forget();
        let mut credit = self.taken(own);
        if let Some(above) = &self.pool.above {
            credit.above = Some(Box::new(above.try_take(n)?));
        }
        Some(credit)
    }

    /// Waits in line until `n` are free here, then above.
    pub async fn take(&self, n: u32) -> Credit {
        if let Some(credit) = self.try_take(n) {
            return credit;
        }
        self.pool.waits.fetch_add(1, Ordering::Relaxed);
        self.wait(n).await
    }

    async fn wait(&self, n: u32) -> Credit {
        let own = self.capped(n);
        if let Ok(permit) = self.pool.free.acquire_many(own).await {
            permit.forget();
        }
        let mut credit = self.taken(own);
        if let Some(above) = &self.pool.above {
            credit.above = Some(Box::new(Box::pin(above.wait(n)).await));
        }
        credit
    }

    fn capped(&self, n: u32) -> u32 {
        u32::try_from(self.pool.limit).map_or(n, |limit| n.min(limit))
    }

    pub fn limit(&self) -> u64 {
        self.pool.limit
    }

    pub fn used(&self) -> u64 {
        self.pool.limit.saturating_sub(self.pool.free.available_permits() as u64)
    }

    /// How often somebody had to wait.
    pub fn waits(&self) -> u64 {
        self.pool.waits.load(Ordering::Relaxed)
    }
}

/// What a message keeps of its sender's credit, whatever that is, until it is handled (RU-1).
pub type Held = Arc<dyn Send + Sync>;

/// What was taken; dropping it gives it back.
#[derive(Debug)]
pub struct Credit {
    from: Credits,
    own: u32,
    above: Option<Box<Credit>>,
}

impl Credit {
    /// How much was taken.
    pub fn amount(&self) -> u32 {
        self.own
    }

    /// Takes `n` out of this, or what there is: it is given back on its own.
    pub fn split(&mut self, n: u32) -> Credit {
        let own = n.min(self.own);
        self.own -= own;
        let above = self.above.as_mut().map(|above| Box::new(above.split(n)));
        Credit { from: self.from.clone(), own, above }
    }

    /// Adds what was taken from the same budget: both are given back together.
    pub fn merge(&mut self, mut other: Credit) {
        debug_assert!(Arc::ptr_eq(&self.from.pool, &other.from.pool), "credits of two budgets");
        let holder = |credit: &Credit| credit.from.holder.as_ref().map(Gauge::id);
        debug_assert_eq!(holder(self), holder(&other), "credits of two holders");
        self.own += std::mem::take(&mut other.own);
        if let (Some(above), Some(more)) = (&mut self.above, other.above.take()) {
            above.merge(*more);
        }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if let Some(holder) = &self.from.holder {
            holder.add(-i64::from(self.own));
        }
        self.from.pool.free.add_permits(self.own as usize);
    }
}
