//! Exporter: traces of sampled requests, to a collector of OpenTelemetry's (OTLP over HTTP, in JSON).
//!
//! Supervisor: the node's root; where it fails it begins anew. Bound: one export under way, of what the registry kept meanwhile: some
//! thousand spans, the rest is counted. What a collector does not take is gone: nothing of the node waits for it.

mod otlp;

use std::io;
use std::time::Duration;

use model::NodeId;
use model::node_config::TelemetryConfig;
use runtime::{Actor, Counter, Cx, Failure, Outcome, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use otlp::Traces;

const PERIOD: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// So much of an answer is looked at.
const ANSWER: u64 = 4096;

#[derive(Clone)]
pub(crate) struct ExporterArgs {
    pub(crate) config: TelemetryConfig,
    pub(crate) node: NodeId,
    pub(crate) cluster_id: String,
}

pub(crate) struct Exporter {
    args: ExporterArgs,
    traces: Traces,
    is_sending: bool,
    /// Why the last export failed, as it was told of.
    trouble: Option<String>,
    sent: Counter,
    lost: Counter,
}

pub(crate) enum ExporterMsg {
    Due,
    Ended { spans: u64, result: Result<(), String> },
}

runtime::messages!(ExporterMsg { Due, Ended });

impl Actor for Exporter {
    const KIND: &'static str = "opentelemetry";
    type Msg = ExporterMsg;
    type Args = ExporterArgs;

    async fn start(cx: &mut Cx<Self>, args: ExporterArgs) -> Result<Self, Failure> {
        cx.every(PERIOD, || ExporterMsg::Due);
        let traces = Traces::new(args.node, &args.cluster_id, cx.world().random("traces"));
        let (sent, lost) = (cx.counter("spans_sent"), cx.counter("spans_lost"));
        Ok(Exporter { args, traces, is_sending: false, trouble: None, sent, lost })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ExporterMsg) -> Outcome {
        match msg {
            ExporterMsg::Due if self.is_sending => {}
            ExporterMsg::Due => self.export(cx),
            ExporterMsg::Ended { spans, result } => self.ended(spans, result),
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let collector = &self.args.config.collector;
        match &self.trouble {
            None => format!("to {collector}"),
            Some(why) => format!("{collector} takes no traces: {why}"),
        }
    }
}

impl Exporter {
    fn export(&mut self, cx: &mut Cx<Self>) {
        let (spans, lost) = cx.world().registry().take_spans();
        self.lost.add(lost);
        if spans.is_empty() {
            return;
        }
        self.is_sending = true;
        let count = spans.len() as u64;
        let body = self.traces.encoded(&spans, cx.world().now());
        let (me, world, config) = (cx.me().clone(), cx.world().clone(), self.args.config.clone());
        cx.spawn_task(async move {
            let sent = world.timeout(TIMEOUT, post(&world, &config, &body)).await;
            let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let result = sent.map_err(|error| error.to_string());
            let _ = me.send(ExporterMsg::Ended { spans: count, result }).await;
        });
    }

    /// Said once, until it is over.
    fn ended(&mut self, spans: u64, result: Result<(), String>) {
        self.is_sending = false;
        let collector = &self.args.config.collector;
        match &result {
            Ok(()) => self.sent.add(spans),
            Err(_) => self.lost.add(spans),
        }
        let trouble = result.err();
        match (&trouble, &self.trouble) {
            (Some(why), None) => {
                tracing::warn!(%collector, why, "traces cannot be sent, and are lost");
            }
            (None, Some(_)) => tracing::info!(%collector, "traces are sent again"),
            _ => {}
        }
        self.trouble = trouble;
    }
}

async fn post(world: &World, config: &TelemetryConfig, body: &str) -> io::Result<()> {
    let TelemetryConfig { collector, path, .. } = config;
    let mut stream = world.net().connect(&collector.host, collector.port).await?;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {collector}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("it answers {line:?}"))),
    }
}
