//! What the commands do.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use model::node_config::{ClusterId, NodeConfig};
use runtime::{ActorTree, BulkheadSizes, Bulkheads, Loggers, World};

use crate::cli::{self, Cli, Command};
use crate::config::{self, ConfigErrors};
use crate::console::{
    self, Console, FetchError, NoScreen, TopAsked, Until, draw, fetch_tree, follow,
};
use crate::dump_log::{self, DumpError};
use crate::explain::{self, ExplainError};
use crate::lines;
use crate::node::{self, Additions, DirectoriesError, FormatAsked, Node, StartError, format_for};
use crate::signals::{Signals, stopped};

/// How long threads may take to end after everything has stopped.
const THREADS_END: Duration = Duration::from_secs(2);
/// A stop that takes longer is talked about.
const LONG_STOP: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Directories(#[from] DirectoriesError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    NoScreen(#[from] NoScreen),
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error(transparent)]
    DumpLog(#[from] DumpError),
    #[error(
        "the console cannot listen on {address}: {source}; --console HOST:PORT names another, --console off goes without"
    )]
    Console { address: String, source: std::io::Error },
    #[error(
        "--cluster-id {given} is not the cluster of the file, {cluster_id}: leave it out, or give [cluster] id = \"{given}\" there"
    )]
    OtherCluster { given: String, cluster_id: String },
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("signals cannot be watched: {0}")]
    Signals(std::io::Error),
    #[error("node {0} ended: {1}")]
    Ended(i32, String),
    #[error("{}", was_not_waited_for(.0))]
    CutShort(Vec<i32>),
}

fn was_not_waited_for(nodes: &[i32]) -> String {
    match nodes {
        [node] => format!("node {node} was not waited for: its next start will recover"),
        _ => {
            let nodes = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("nodes {nodes} were not waited for: their next starts will recover")
        }
    }
}

/// Does what the command line says. Nodes alter these loggers when they are told to.
pub fn run(cli: Cli, loggers: &Loggers) -> ExitCode {
    let done = match cli.command {
        Command::Start(start) => start_nodes(&start, loggers),
        Command::Format(format) => format_node(&format),
        Command::Tree(tree) => show_tree(&tree),
        Command::Top(top) => show_top(&top),
        Command::Explain(asked) => explain::run(&asked).map_err(RunError::from),
        Command::Fault(fault) => set_fault(&fault),
        Command::Trace(trace) => follow_trace(trace),
        Command::DumpLog(dump) => dump_log(&dump),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// To who listens: nothing ends or waits because nobody does.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = (&*lines::OUT).write_all(format!("{line}\n").as_bytes());
}

/// As [`say`], of what is wrong.
pub fn complain(line: std::fmt::Arguments<'_>) {
    let _ = (&*lines::ERR).write_all(format!("ottla: {line}\n").as_bytes());
}

/// Waits until all that was said is written; where nobody reads it, for some seconds.
pub fn last_words() {
    lines::OUT.written();
    lines::ERR.written();
}

fn real_world(sizes: BulkheadSizes) -> Result<(Bulkheads, World), RunError> {
    let bulkheads = Bulkheads::new(sizes).map_err(RunError::Threads)?;
    let world = World::real(bulkheads.handles(), Arc::new(disk::RealDisk::new()));
    Ok((bulkheads, world))
}

fn dump_log(dump: &cli::DumpLog) -> Result<(), RunError> {
    let disk = disk::RealDisk::new();
    let mut out = BufWriter::new(std::io::stdout().lock());
    match dump_log::dump(&disk, &dump.options(), &mut out, &mut std::io::stderr().lock()) {
        Err(error) if error.is_closed_output() => Ok(()),
        done => Ok(done?),
    }
}

fn show_tree(tree: &cli::Tree) -> Result<(), RunError> {
    let scope = tree.part.scope(tree.depth);
    if tree.live {
        return Ok(console::live_tree(&tree.console, &scope, stopped()?)?);
    }
    let drawn = draw(&fetch_tree(&tree.console, &scope)?);
    // Who has seen enough closes the pipe.
    let _ = std::io::stdout().write_all(drawn.as_bytes());
    Ok(())
}

fn show_top(top: &cli::Top) -> Result<(), RunError> {
    let asked = TopAsked { scope: top.part.scope(None), order: top.order() };
    if !top.once {
        return Ok(console::top(&top.console, asked, stopped()?)?);
    }
    let page = console::top_once(&top.console, &asked, top.lines.get())?;
    let _ = std::io::stdout().write_all(page.as_bytes());
    Ok(())
}

fn set_fault(fault: &cli::Fault) -> Result<(), RunError> {
    let (actor, what) = fault.what.parts();
    say(format_args!("{}", console::set_fault(&fault.console, actor, what)?));
    Ok(())
}

fn follow_trace(trace: cli::Trace) -> Result<(), RunError> {
    let (lasts, count) = (trace.lasts, trace.count.map(u64::from));
    let until = Until { lasts, count, stopped: stopped()? };
    Ok(follow(&trace.console, trace.actor, until, &mut std::io::stdout())?)
}

fn format_node(format: &cli::Format) -> Result<(), RunError> {
    let Some(source) = format.source() else { return Ok(()) };
    let configs = config::load(&source, &[], &config::machine_name())?;
    let (_bulkheads, world) = real_world(BulkheadSizes::for_cores(1))?;
    let features: BTreeMap<String, i16> = format.feature.iter().cloned().collect();
    for config in configs {
        let cluster_id = cluster_to_format(format, &config)?;
        let asked = match format.ignore_formatted {
            true => FormatAsked::ForThoseThatAreNot,
            false => FormatAsked::ForAll,
        };
        let voters = format.first_voters();
        let formatted = format_for(&world, &config, cluster_id, &features, &voters, asked)?;
        for (dir, id) in formatted.dirs {
            let (dir, cluster) = (dir.display(), &formatted.cluster_id);
            say(format_args!("formatted {dir} as directory {id} of cluster {cluster}"));
        }
    }
    Ok(())
}

/// The file's own, where it has one: the node would not start on another's directories.
fn cluster_to_format(format: &cli::Format, config: &NodeConfig) -> Result<String, RunError> {
    let given = format.cluster_id.clone();
    match (&config.cluster_id, given) {
        (ClusterId::Given(id), Some(given)) if *id != given => {
            Err(RunError::OtherCluster { given, cluster_id: id.clone() })
        }
        (ClusterId::Given(id), _) => Ok(id.clone()),
        (ClusterId::Derived(id), given) => Ok(given.unwrap_or_else(|| id.clone())),
        (ClusterId::FromDirectories, given) => Ok(given.unwrap_or_default()),
    }
}

fn start_nodes(start: &cli::Start, loggers: &Loggers) -> Result<(), RunError> {
    let configs = config::load(&start.source(), &start.set, &config::machine_name())?;
    let (bulkheads, world) = real_world(sizes(&configs))?;
    let world = world.with_loggers(loggers.clone());
    let outcome = bulkheads.block_on(serve(start, configs, world));
    bulkheads.shutdown(THREADS_END);
    outcome
}

/// Threads as they are asked for; where nothing is, as many as fit the machine. The nodes share them: of several numbers the largest
/// counts.
fn sizes(configs: &[NodeConfig]) -> BulkheadSizes {
    let fitting = BulkheadSizes::for_this_machine();
    let most = |of: fn(&NodeConfig) -> Option<usize>| configs.iter().filter_map(of).max();
    BulkheadSizes {
        network: most(|config| config.network.threads).unwrap_or(fitting.network),
        storage: most(|config| config.network.io_threads).unwrap_or(fitting.storage),
        control: most(|config| config.network.control_threads).unwrap_or(fitting.control),
        jobs: most(|config| config.logs.background_threads).unwrap_or(fitting.jobs),
    }
}

async fn serve(start: &cli::Start, configs: Vec<NodeConfig>, world: World) -> Result<(), RunError> {
    let console = match &start.console {
        cli::Console::Off => None,
        cli::Console::At(address) => {
            let bound = Console::bind(&address.host, address.port).await;
            Some(
                bound
                    .map_err(|source| RunError::Console { address: address.to_string(), source })?,
            )
        }
    };
    let mut signals = Signals::new()?;
    let mut nodes = Vec::new();
    match live(configs, console, &world, &mut signals, &mut nodes).await {
        Err(cut @ RunError::CutShort(_)) => Err(cut),
        lived => {
            stop(&nodes, &mut signals).await?;
            lived
        }
    }
}

/// Until a signal asks to stop, or something fails.
async fn live(
    configs: Vec<NodeConfig>,
    console: Option<Console>,
    world: &World,
    signals: &mut Signals,
    nodes: &mut Vec<Node>,
) -> Result<(), RunError> {
    let (begun, count) = (world.mono(), configs.len());
    for config in configs {
        if let Go::Stop = launch(config, count, world, signals, nodes).await? {
            return Ok(());
        }
    }
    // Most wanted where they do not come to serve.
    if let Some(console) = console {
        let serving = console.serve(&nodes.iter().collect::<Vec<_>>());
        on_its_own_thread(serving).map_err(RunError::Threads)?;
    }
    if let Go::Stop = serving(nodes, signals).await? {
        return Ok(());
    }
    let took = world.mono().saturating_sub(begun);
    for node in &*nodes {
        say(format_args!(
            "ottla: node {} of cluster {} is ready on {} after {} ms",
            node.config().node_id,
            node.cluster_id(),
            node.bootstrap(),
            took.as_millis()
        ));
    }
    tokio::select! {
        biased;
        () = signals.stop() => Ok(()),
        end = first_end(nodes) => Err(end),
    }
}

/// A page about tens of thousands of actors takes long to build: nothing of a node waits for it.
fn on_its_own_thread(
    serving: impl Future<Output = std::io::Result<()>> + Send + 'static,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        if let Err(error) = runtime.block_on(serving) {
            tracing::warn!(%error, "the console ended");
        }
    };
    std::thread::Builder::new().name("ottla-console".to_owned()).spawn(serve).map(drop)
}

/// Adds one of so many nodes. What it has begun to open when a signal comes is to be closed in order.
async fn launch(
    config: NodeConfig,
    count: usize,
    world: &World,
    signals: &mut Signals,
    nodes: &mut Vec<Node>,
) -> Result<Go, RunError> {
    let own = node::real_world(world.handles().clone(), count);
    let own = own.with_loggers(world.loggers().clone());
    let id = config.node_id.0;
    let mut launching = std::pin::pin!(Node::launch(own, config, Additions::default()));
    let (launched, go) = tokio::select! {
        biased;
        launched = launching.as_mut() => (Some(launched), Go::On),
        () = signals.stop() => {
            let told = |took| format!("node {id} is stopping: {took} s, its directories are being opened");
            (finish(world, signals, launching, told).await, Go::Stop)
        }
    };
    let cut_short = || RunError::CutShort([ids(nodes), vec![id]].concat());
    nodes.push(launched.ok_or_else(cut_short)??);
    Ok(go)
}

enum Go {
    On,
    Stop,
}

/// Waits until all nodes serve. Those of one cluster need each other for it, so that the end of any is the end of all.
async fn serving(nodes: &[Node], signals: &mut Signals) -> Result<Go, RunError> {
    let mut first_end = std::pin::pin!(first_end(nodes));
    for node in nodes {
        tokio::select! {
            biased;
            served = node.serving() => served?,
            end = first_end.as_mut() => return Err(end),
            () = signals.stop() => return Ok(Go::Stop),
        }
    }
    Ok(Go::On)
}

/// Waits for a node that ends by itself.
async fn first_end(nodes: &[Node]) -> RunError {
    let mut ends: Vec<_> = nodes.iter().map(|node| Box::pin(node.ended())).collect();
    std::future::poll_fn(|cx| {
        for (node, end) in nodes.iter().zip(&mut ends) {
            if let std::task::Poll::Ready(exit) = end.as_mut().poll(cx) {
                let why = exit.failure().map_or_else(|| format!("{exit:?}"), ToString::to_string);
                return std::task::Poll::Ready(RunError::Ended(node.config().node_id.0, why));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn ids(nodes: &[Node]) -> Vec<i32> {
    nodes.iter().map(|node| node.config().node_id.0).collect()
}

/// Stops the nodes, the last started first.
async fn stop(nodes: &[Node], signals: &mut Signals) -> Result<(), RunError> {
    for node in nodes {
        // Who is too busy to hear it is told by its own stop.
        let _ = node.world().timeout(LONG_STOP, node.announce_stop()).await;
    }
    for (at, node) in nodes.iter().enumerate().rev() {
        let (world, id) = (node.world(), node.config().node_id);
        let stopped = finish(world, signals, node.stop(), |took| {
            let left = actors(&world.registry().tree());
            format!("node {id} is stopping: {took} s, {left} actors are still there")
        });
        stopped.await.ok_or_else(|| RunError::CutShort(ids(&nodes[..=at])))?;
        say(format_args!("ottla: node {id} stopped"));
    }
    Ok(())
}

/// Does what should not be left half done. Where it takes long it says so, and then one more signal ends it. None before counts: some
/// send one twice at once, a terminal and who started the process.
async fn finish<T>(
    world: &World,
    signals: &mut Signals,
    work: impl Future<Output = T>,
    told: impl Fn(u64) -> String,
) -> Option<T> {
    let (begun, mut long) = (world.mono(), false);
    let mut work = std::pin::pin!(work);
    loop {
        let step = async {
            tokio::select! {
                biased;
                done = work.as_mut() => Some(done),
                () = signals.stop(), if long => None,
            }
        };
        if let Ok(ended) = world.timeout(LONG_STOP, step).await {
            return ended;
        }
        if !long {
            signals.forget().await;
            long = true;
        }
        let took = world.mono().saturating_sub(begun).as_secs();
        complain(format_args!("{}; one more signal ends it as it is", told(took)));
    }
}

fn actors(trees: &[ActorTree]) -> usize {
    trees.iter().map(|tree| 1 + actors(&tree.children)).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use runtime::Bulkhead;

    use super::*;

    fn config(set: &[(&str, &str)]) -> NodeConfig {
        let source = config::Source::Nothing {
            data: "data".into(),
            listen: model::node_config::HostPort::new("127.0.0.1", 0),
        };
        let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        config::load(&source, &set, "machine").unwrap().remove(0)
    }

    #[test]
    fn as_many_jobs_of_a_queue_run_at_a_time_as_background_threads_says() {
        for threads in [1, 3] {
            let config = config(&[("background.threads", &threads.to_string())]);
            let (bulkheads, world) = real_world(sizes(&[config])).unwrap();
            let ran = Arc::new(AtomicBool::new(false));
            bulkheads.block_on(async {
                let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
                let mut held = Vec::new();
                for _ in 0..threads {
                    let (hold, until) = std::sync::mpsc::channel::<()>();
                    let (own, begun) = (world.clone(), begun.clone());
                    let job = move || {
                        begun.send(()).unwrap();
                        assert!(until.recv().is_err());
                    };
                    let run = async move { own.blocking("held", job).await.unwrap() };
                    held.push((hold, world.spawn(Bulkhead::Control, run)));
                    begins.recv().await.unwrap();
                }
                let more = ran.clone();
                tokio::select! {
                    biased;
                    _ = world.blocking("more", move || more.store(true, Ordering::Relaxed)) => {}
                    () = std::future::ready(()) => {}
                }
                for (hold, run) in held {
                    drop(hold);
                    run.join().await;
                }
                // Whatever began to run before has done so.
                world.blocking("last", || ()).await.unwrap();
            });
            bulkheads.shutdown(THREADS_END);
            assert!(!ran.load(Ordering::Relaxed), "beside {threads}");
        }
    }
}
