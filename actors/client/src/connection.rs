//! One connection to one broker: requests go out one after the other, answers find those who wait by correlation id.

mod frame;
mod send_on;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::ErrorCode;
use runtime::{Bulkhead, ConnectOptions, Map, NetStream, Task, World};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use wire::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, EncodeError, Part, Request, VersionRange,
};

use crate::client::ClientConfig;
use crate::error::RequestError;
use frame::{FrameBuf, read_frame};
pub use send_on::Origin;

/// A connection whose versions are negotiated. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    world: World,
    address: String,
    client_id: String,
    stalled_after: Duration,
    /// Unbounded as a channel: each frame in it holds a permit of `in_flight`.
    outgoing: mpsc::UnboundedSender<Outgoing>,
    in_flight: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
    versions: Map<ApiKey, VersionRange>,
    tasks: [Task; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Default)]
struct State {
    next_id: i32,
    waiting: Map<i32, Waiting>,
    closed: Option<String>,
}

struct Waiting {
    answer: oneshot::Sender<Bytes>,
    since: Duration,
    _permit: OwnedSemaphorePermit,
}

struct Outgoing {
    frame: FrameBuf,
    /// For a request without an answer.
    written: Option<(oneshot::Sender<()>, OwnedSemaphorePermit)>,
}

impl Connection {
    /// Connects to `host:port` and asks which versions the broker speaks.
    ///
    /// # Errors
    /// It cannot be reached in time, or does not speak Kafka's protocol.
    pub async fn open(
        world: &World,
        host: &str,
        port: u16,
        config: &ClientConfig,
    ) -> Result<Connection, RequestError> {
        let address = format!("{host}:{port}");
        let failed = |reason: String| RequestError::Connect { address: address.clone(), reason };
        let options = ConnectOptions { receive_buffer: config.receive_buffer };
        let connecting = world.net().connect_with(host, port, options);
        let stream = world
            .timeout(config.connect_timeout, connecting)
            .await
            .map_err(|_| failed(format!("no answer within {:?}", config.connect_timeout)))?
            .map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused => {
                    let (address, reason) = (address.clone(), error.to_string());
                    RequestError::Refused { address, reason }
                }
                _ => failed(error.to_string()),
            })?;
        let mut connection = Shared::start(world, address.clone(), stream, config);
        let answer = connection.negotiate(config.request_timeout).await?;
        connection.versions = answer
            .api_keys
            .iter()
            .filter_map(|api| {
                let key = ApiKey::from_code(api.api_key)?;
                let ours = key.stable_versions()?;
                let common =
                    VersionRange::new(ours.min.max(api.min_version), ours.max.min(api.max_version));
                (common.min <= common.max).then_some((key, common))
            })
            .collect();
        Ok(Connection(Arc::new(connection)))
    }

    pub fn address(&self) -> &str {
        &self.0.address
    }

    pub fn is_closed(&self) -> bool {
        self.0.state().closed.is_some()
    }

    /// The versions that both sides speak.
    pub fn versions(&self, key: ApiKey) -> Option<VersionRange> {
        self.0.versions.get(&key).copied()
    }

    /// The newest version that both sides speak.
    ///
    /// # Errors
    /// There is none.
    pub fn version<R: Request>(&self) -> Result<i16, RequestError> {
        self.common::<R>(None)
    }

    /// The version that is wanted, or the newest, where both sides speak it.
    fn common<R: Request>(&self, wanted: Option<i16>) -> Result<i16, RequestError> {
        // Nobody is told of what is private: who asks for it knows that it is served.
        let private = R::KEY.is_private().then(|| R::KEY.versions());
        let versions = self.0.versions.get(&R::KEY).copied().or(private);
        let found = versions.filter(|versions| wanted.is_none_or(|v| versions.contains(v)));
        found.map(|versions| wanted.unwrap_or(versions.max)).ok_or_else(|| {
            RequestError::Unsupported { address: self.0.address.clone(), api: R::KEY }
        })
    }

    /// Sends a request and waits for its answer, at most `limit`. A request that timed out ends the connection, as its
    /// answer would hold up those behind it.
    ///
    /// # Errors
    /// See [`RequestError`]; an error code within the answer is none here.
    pub async fn request<R: Request>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, RequestError> {
        let version = self.version::<R>()?;
        self.request_in(request, version, limit).await
    }

    /// [`request`](Self::request), in this version.
    ///
    /// # Errors
    /// As there; and the other side does not speak the version.
    pub async fn request_in<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, RequestError> {
        let version = self.common::<R>(Some(version))?;
        let frame = self.0.exchange(request, version, limit).await?;
        self.0.decode::<R>(frame, version)
    }

    /// Sends a request that has no answer (a produce request with acks 0), and waits until it is written.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn send<R: Request>(&self, request: &R, limit: Duration) -> Result<(), RequestError> {
        let version = self.version::<R>()?;
        self.0.send(request, version, limit).await
    }
}

impl Shared {
    fn start(world: &World, address: String, stream: NetStream, config: &ClientConfig) -> Shared {
        let (read, write) = tokio::io::split(stream);
        let (outgoing, queue) = mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(State::default()));
        let limit = config.max_response_bytes;
        let reading = world.spawn(Bulkhead::Network, read_answers(read, state.clone(), limit));
        let writing = world.spawn(Bulkhead::Network, write_requests(write, queue, state.clone()));
        Shared {
            world: world.clone(),
            address,
            client_id: config.client_id.clone(),
            stalled_after: config.stalled_after,
            outgoing,
            in_flight: Arc::new(Semaphore::new(config.max_in_flight.max(1))),
            state,
            versions: Map::new(),
            tasks: [reading, writing],
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A broker that is older than our newest ApiVersions answers in version 0, and names those that it speaks.
    async fn negotiate(&self, limit: Duration) -> Result<ApiVersionsResponse, RequestError> {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ApiVersionsRequest::default()
        };
        let newest = ApiKey::ApiVersions.stable_versions().map_or(0, |versions| versions.max);
        let frame = self.exchange(&request, newest, limit).await?;
        let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        if frame.get(4..6) != Some(&unsupported) {
            return self.decode::<ApiVersionsRequest>(frame, newest);
        }
        let answer = self.decode::<ApiVersionsRequest>(frame, 0)?;
        let theirs = answer.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.code());
        let version = theirs.map_or(0, |api| api.max_version).clamp(0, newest);
        let frame = self.exchange(&request, version, limit).await?;
        self.decode::<ApiVersionsRequest>(frame, version)
    }

    fn decode<R: Request>(&self, frame: Bytes, version: i16) -> Result<R::Response, RequestError> {
        let decoded = wire::decode_response::<R::Response>(frame, version);
        let (_, response) = decoded.map_err(|error| RequestError::Decode {
            address: self.address.clone(),
            api: R::KEY,
            reason: error.to_string(),
        })?;
        Ok(response)
    }

    fn ended(&self, reason: &str) -> RequestError {
        RequestError::Closed { address: self.address.clone(), reason: reason.to_owned() }
    }

    fn timed_out(&self, api: ApiKey, limit: Duration) -> RequestError {
        let now = self.world.mono();
        let oldest = self.state().waiting.values().map(|waiting| waiting.since).min();
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if waited >= self.stalled_after {
            close(&self.state, "a request timed out");
        }
        RequestError::TimedOut { address: self.address.clone(), api, limit }
    }

    async fn exchange<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let answered = async {
            let permit = self.permit().await?;
            let (answer, answered) = oneshot::channel();
            self.submit(request, version, |id, frame, state| {
                let since = self.world.mono();
                state.waiting.insert(id, Waiting { answer, since, _permit: permit });
                Outgoing { frame, written: None }
            })?;
            answered.await.map_err(|_| self.closed_error())
        };
        match self.world.timeout(limit, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(R::KEY, limit)),
        }
    }

    async fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<(), RequestError> {
        let sent = async {
            let permit = self.permit().await?;
            let (written, done) = oneshot::channel();
            self.submit(request, version, |_, frame, _| Outgoing {
                frame,
                written: Some((written, permit)),
            })?;
            done.await.map_err(|_| self.closed_error())
        };
        match self.world.timeout(limit, sent).await {
            Ok(sent) => sent,
            Err(_) => Err(self.timed_out(R::KEY, limit)),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        self.in_flight.clone().acquire_owned().await.map_err(|_| self.closed_error())
    }

    fn closed_error(&self) -> RequestError {
        let reason = self.state().closed.clone();
        self.ended(reason.as_deref().unwrap_or("it was dropped"))
    }

    /// The lock is held until the frame is in the queue, so that ids leave in their order.
    fn submit<R: Request>(
        &self,
        request: &R,
        version: i16,
        outgoing: impl FnOnce(i32, FrameBuf, &mut State) -> Outgoing,
    ) -> Result<(), RequestError> {
        let encode = |reason: String| RequestError::Encode { api: R::KEY, reason };
        let mut state = self.state();
        if let Some(reason) = &state.closed {
            return Err(self.ended(reason));
        }
        let id = state.next_id;
        let parts: Result<Vec<Part>, EncodeError> =
            wire::encode_request(request, version, id, Some(&self.client_id));
        let frame = FrameBuf::new(parts.map_err(|error| encode(error.to_string()))?)
            .ok_or_else(|| encode("its records lie in a file".to_owned()))?;
        state.next_id = id.wrapping_add(1) & i32::MAX;
        let outgoing = outgoing(id, frame, &mut state);
        // Where the writer has ended, `closed` says so to whoever waits.
        drop(self.outgoing.send(outgoing));
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those who wait learn it by the end of their channel.
fn close(state: &Mutex<State>, reason: &str) {
    let mut state = lock(state);
    state.closed.get_or_insert_with(|| reason.to_owned());
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    drop(waiting);
}

async fn write_requests(
    mut stream: WriteHalf<NetStream>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    state: Arc<Mutex<State>>,
) {
    while let Some(mut outgoing) = queue.recv().await {
        if let Err(error) = outgoing.frame.write_to(&mut stream).await {
            close(&state, &error.to_string());
            return;
        }
        if let Some((written, _permit)) = outgoing.written {
            // Whoever waited has given up.
            let _ = written.send(());
        }
    }
}

async fn read_answers(
    mut stream: ReadHalf<NetStream>,
    state: Arc<Mutex<State>>,
    max_response_bytes: u32,
) {
    let reason = loop {
        let frame = match read_frame(&mut stream, max_response_bytes).await {
            Ok(frame) => frame,
            Err(error) => break error.to_string(),
        };
        let Some(id) = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else {
            break "an answer is too short".to_owned();
        };
        let Some(waiting) = lock(&state).waiting.remove(&id) else {
            break format!("an answer to no request (correlation id {id})");
        };
        // Whoever asked has given up.
        let _ = waiting.answer.send(frame);
    };
    close(&state, &reason);
}
