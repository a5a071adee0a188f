//! What extensions and interceptors may be called.

use ottla::{ExtendError, Node, NodeHandle, StartError};

use crate::logs::Sieve;
use crate::{Fragile, LIMIT};

const NAMES: [&str; 5] = ["", "a/b", "a\nb", " a", "."];
const TOPICS: [&str; 4] = ["", "a b", "..", "t/0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_none_are_refused_by_name_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let quick = || Node::builder().quick(&data, "127.0.0.1:0", &[]);
    let long = "x".repeat(250);
    for name in NAMES.into_iter().chain([&*long]) {
        let never = |_: &NodeHandle| unreachable!("there is no node");
        let error = quick().extension::<Fragile>(name, never).start().await.map(drop).unwrap_err();
        assert!(matches!(error, StartError::Extension { .. }), "{error}");
        let begins = format!("the extension {name:?} cannot be: the name ");
        assert!(error.to_string().starts_with(&begins), "{error}");
    }
    for topic in TOPICS.into_iter().chain([&*long]) {
        let error = quick().intercept::<Sieve>(topic, ()).start().await.map(drop).unwrap_err();
        let begins = format!("the interceptor of {topic:?} cannot be: Topic name is invalid: ");
        assert!(error.to_string().starts_with(&begins), "{error}");
    }
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_none_are_refused_while_a_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let handle = node.handle().unwrap();
    for name in NAMES {
        for refused in
            [handle.extend::<Fragile>(name, ()).await, node.extend::<Fragile>(name, ()).await]
        {
            let Err(error @ ExtendError::Name { .. }) = refused else {
                panic!("{name:?} is taken")
            };
            assert!(error.to_string().starts_with(&format!("the extension {name:?}")), "{error}");
        }
    }
    for topic in TOPICS {
        let refused = handle.intercept::<Sieve>(topic, ()).await;
        let Err(error @ ExtendError::Topic { .. }) = refused else { panic!("{topic:?} is taken") };
        assert!(error.to_string().starts_with(&format!("the interceptor of {topic:?}")), "{error}");
        assert!(!handle.stop_intercepting(topic).await.unwrap());
    }
    handle.extend::<Fragile>("a.b c:d", ()).await.unwrap();
    handle.intercept::<Sieve>("a.b", ()).await.unwrap();
    let again = handle.intercept::<Sieve>("a.b", ()).await.unwrap_err();
    assert_eq!(again.to_string(), "the topic a.b has an interceptor");
    let stopped = node.world().timeout(LIMIT, node.stop()).await;
    stopped.unwrap();
}
