//! A part of an actor's state that blocking jobs have for a while.

use std::ops::{Deref, DerefMut};

/// What [`Cx::lend`](crate::Cx::lend) lends to a job, for which its actor waits. A job that panics does not give it back, and
/// its actor is to end.
#[derive(Debug)]
pub struct Lent<T>(Option<T>);

impl<T> Lent<T> {
    pub fn new(part: T) -> Lent<T> {
        Lent(Some(part))
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }

    pub(crate) fn give_back(&mut self, part: T) {
        self.0 = Some(part);
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(part) => part,
            None => lost(),
        }
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(part) => part,
            None => lost(),
        }
    }
}

fn lost() -> ! {
    panic!("a part of the actor's state was lost with the job that had it")
}
