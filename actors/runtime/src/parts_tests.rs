//! The small parts, each alone.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{Disk, Open, RealDisk};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;

#[test]
fn a_directory_gives_its_entries_in_order() {
    let directory = Directory::new();
    for n in (0..1000).rev() {
        assert_eq!(directory.insert(format!("{n:03}"), n), None);
    }
    assert_eq!(directory.get("007"), Some(7));
    assert_eq!(directory.insert("007".to_owned(), 70), Some(7));
    assert_eq!(directory.remove("008"), Some(8));
    assert_eq!((directory.get("008"), directory.len()), (None, 999));
    let keys: Vec<String> = directory.entries().into_iter().map(|(key, _)| key).collect();
    assert!(keys.is_sorted() && keys.len() == 999);
}

#[test]
fn a_backoff_doubles_up_to_its_limit_and_jitter_only_shortens_it() {
    let mut random = RandomStream::from_seed([7; 32]);
    let millis = Duration::from_millis;
    let steady = Backoff { initial: millis(10), max: millis(100), jitter: 0.0 };
    let delays = [1, 2, 3, 4, 5, 1_000_000].map(|failures| steady.delay(failures, &mut random));
    assert_eq!(delays, [10, 20, 40, 80, 100, 100].map(millis));
    let jittery = Backoff { jitter: 0.5, ..steady };
    let delays: Vec<_> = (0..100).map(|_| jittery.delay(2, &mut random)).collect();
    assert!(delays.iter().all(|delay| *delay > millis(9) && *delay <= millis(20)));
    assert!(delays.iter().any(|delay| *delay != delays[0]));
}

#[test]
fn one_seed_gives_one_stream() {
    let draw = |seed| {
        let mut random = RandomStream::from_seed([seed; 32]);
        (random.next_u64(), random.uuid(), random.below(10), random.below(0))
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let (_, uuid, below, zero) = draw(1);
    assert_eq!((uuid.0[6] >> 4, uuid.0[8] >> 6), (4, 2));
    assert!(below < 10 && zero == 0);
    // A dash would read as an option on a command line.
    let mut random = RandomStream::from_seed([1; 32]);
    assert!((0..1000).all(|_| !random.uuid().to_string().contains('-')));
}

#[test]
fn a_reply_is_answered_once_by_value_or_by_loss() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let told = answers.clone();
    let sink: Arc<dyn ReplySink<u8>> =
        Arc::new(move |token, answer| told.lock().unwrap().push((token, answer)));
    Reply::to_sink(sink.clone(), 1).send(10);
    drop(Reply::to_sink(sink.clone(), 2));
    let mut parked = Parked::new(2);
    parked.park(5, Reply::to_sink(sink.clone(), 3)).unwrap();
    parked.park(6, Reply::to_sink(sink.clone(), 4)).unwrap();
    let Full(reply) = parked.park(7, Reply::to_sink(sink.clone(), 5)).unwrap_err();
    reply.send(50);
    let below: Vec<i32> = parked.take_below(&6).into_keys().collect();
    assert_eq!((below, parked.len()), (vec![5], 1));
    assert!(parked.answer(&6, 40) && !parked.answer(&6, 41));
    let expected = [(1, Ok(10)), (2, Err(Dropped)), (5, Ok(50)), (3, Err(Dropped)), (4, Ok(40))];
    assert_eq!(*answers.lock().unwrap(), expected);
}

#[test]
fn credits_larger_than_the_budget_pass_alone() {
    let credits = Credits::new(10);
    let all = credits.try_take(1_000_000).unwrap();
    assert_eq!(credits.used(), 10);
    assert!(credits.try_take(1).is_none());
    drop(all);
    assert!(credits.try_take(10).is_some());
}

#[test]
fn what_the_budget_above_lacks_is_not_taken_below() {
    let node = Credits::new(10);
    let (one, two) = (node.nested(8), node.nested(8));
    let held = one.try_take(8).unwrap();
    assert!(two.try_take(3).is_none());
    assert_eq!((node.used(), two.used()), (8, 0));
    drop(held);
    assert!(two.try_take(3).is_some());
}

#[test]
fn what_was_taken_may_be_given_back_in_parts() {
    let node = Credits::new(100);
    let credits = node.nested(10);
    let mut credit = credits.try_take(6).unwrap();
    credit.merge(credits.try_take(3).unwrap());
    assert_eq!((credit.amount(), credits.used(), node.used()), (9, 9, 9));
    let part = credit.split(4);
    assert_eq!((part.amount(), credit.amount(), credits.used()), (4, 5, 9));
    drop(credit);
    assert_eq!((credits.used(), node.used()), (4, 4));
    drop(part);
    assert_eq!((credits.used(), node.used()), (0, 0));
}

#[test]
fn few_cores_share_their_threads() {
    let sizes = BulkheadSizes::for_cores(2);
    assert_eq!((sizes.network, sizes.storage, sizes.control), (2, 0, 0));
    let sizes = BulkheadSizes::for_cores(8);
    assert_eq!(sizes.network + sizes.storage + sizes.control, 8);
    assert!(sizes.storage > 0 && sizes.control > 0);
}

#[tokio::test]
async fn a_real_connection_carries_bytes_vectors_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let file = disk.open(&folder.path().join("file"), Open::CreateNew).unwrap();
    let contents: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    file.write_at(&contents, 0).unwrap();
    let world = World::real(Handles::current(), disk);
    let listener = world.net().listen("127.0.0.1", 0, ListenOptions::default()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = world.spawn(Bulkhead::Network, async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.sends_files() && stream.is_write_vectored());
        assert_eq!(stream.write_before_more(b"head").await.unwrap(), 4);
        let (fd, mut pos) = (|| Ok(file.held_fd().unwrap()), 1);
        while pos < 300_000 {
            pos += stream.send_file(fd, pos, 300_000 - pos as usize).await.unwrap() as u64;
        }
        assert_eq!(stream.send_file(fd, pos, 10).await.unwrap(), 0);
        let tail = [IoSlice::new(b"ta"), IoSlice::new(b"il")];
        assert_eq!(stream.write_vectored(&tail).await.unwrap(), 4);
    });
    let mut stream = world.net().connect("localhost", port).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    sender.join().await;
    assert_eq!(&received[..4], b"head");
    assert!(received[4..received.len() - 4] == contents[1..]);
    assert_eq!(&received[received.len() - 4..], b"tail");
}

#[tokio::test]
async fn blocking_jobs_run_a_few_at_a_time() {
    let world = World::real(Handles::current(), Arc::new(RealDisk::new()));
    let queue = JobQueue::of("disk", 1);
    let (first, first_ends) = std::sync::mpsc::channel::<()>();
    let wait = move || assert!(first_ends.recv().is_err());
    let blocked = world.blocking_in(&queue, "first", wait);
    let mut second = std::pin::pin!(world.blocking_in(&queue, "second", || ()));
    let first_runs = tokio::task::yield_now();
    let mut blocked = std::pin::pin!(blocked);
    tokio::select! {
        biased;
        _ = blocked.as_mut() => panic!("nobody let it end"),
        _ = second.as_mut() => panic!("two at once"),
        () = first_runs => {}
    }
    // Those of other queues do not wait.
    assert_eq!(world.blocking_in(&JobQueue::of("other", 1), "third", || 3).await, Ok(3));
    assert_eq!(world.blocking("fourth", || 4).await, Ok(4));
    drop(first);
    assert_eq!(blocked.await, Ok(()));
    assert_eq!(second.await, Ok(()));
}
