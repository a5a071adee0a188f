//! A client that speaks the wire over the simulated network: one request at a time, frames encoded here.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ottla::runtime::{NetStream, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Part, Request};

use crate::broker;

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(4);
/// Before trying again what failed.
pub const BACKOFF: Duration = Duration::from_millis(40);
const MAX_FRAME: u32 = 64 << 20;

pub struct WireClient {
    world: World,
    name: String,
    stream: Option<NetStream>,
    correlation: i32,
    failed: bool,
}

impl WireClient {
    pub fn new(world: &World, name: &str) -> WireClient {
        WireClient {
            world: world.clone(),
            name: name.to_owned(),
            stream: None,
            correlation: 0,
            failed: false,
        }
    }

    /// Connects where it is not connected; true where it is then.
    pub async fn connect(&mut self) -> bool {
        if self.stream.is_none() {
            let connecting = self.world.net().connect(broker::NAME, broker::PORT);
            let connected = self.world.timeout(CONNECT, connecting).await;
            self.stream = connected.ok().and_then(Result::ok);
        }
        self.stream.is_some()
    }

    /// Asks over the connection that there is. An error is the connection's end: whether the broker did what was asked is
    /// then unknown.
    pub async fn ask<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        let mut stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        self.correlation += 1;
        let parts = wire::encode_request(request, version, self.correlation, Some(&self.name));
        let parts = parts.map_err(io::Error::other)?;
        // Until the answer is here.
        let failed_before = std::mem::replace(&mut self.failed, true);
        let asking = exchange(&mut stream, parts);
        let frame = self.world.timeout(ANSWER, asking).await;
        let frame = frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let decoded = wire::decode_response::<R::Response>(frame, version);
        let (correlation, response) = decoded.map_err(io::Error::other)?;
        assert_eq!(correlation, self.correlation, "responses come in the order of requests");
        self.stream = Some(stream);
        self.failed = failed_before;
        Ok(response)
    }

    /// Whether a request was sent whose answer was not heard.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Asks until there is an answer, over as many connections as it takes.
    pub async fn ask_until_answered<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> R::Response {
        loop {
            if self.connect().await
                && let Ok(response) = self.ask(request, version).await
            {
                return response;
            }
            self.world.sleep(BACKOFF).await;
        }
    }
}

async fn exchange(stream: &mut NetStream, parts: Vec<Part>) -> io::Result<Bytes> {
    for part in parts {
        match part {
            Part::Bytes(bytes) => stream.write_all(&bytes).await?,
            Part::External { .. } => return Err(io::Error::other("a request has no files")),
        }
    }
    stream.flush().await?;
    let length = stream.read_u32().await?;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("a response of {length} bytes")));
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame.into())
}
