//! What a node holds of the network: listeners and streams, which do nothing once its life has ended.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::SimClock;
use super::net::{End, NetState, Network, Place, Segment, ip};
use crate::world::{
    BoxFuture, BoxStream, Clock, ListenOptions, Listener, Net, NetStream, SimListener, SimStream,
};

/// How long Linux tries to connect to what does not answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(127);

pub(super) struct SimNet {
    network: Arc<Network>,
    clock: Arc<SimClock>,
    at: Place,
}

impl SimNet {
    pub(super) fn new(network: Arc<Network>, clock: Arc<SimClock>, node: usize) -> SimNet {
        let at = network.state().life(node);
        SimNet { network, clock, at }
    }

    fn bind(&self, host: &str, port: u16, options: ListenOptions) -> io::Result<Port> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        if state.resolve(self.at.node, host) != Some(self.at.node) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let port = if port == 0 { state.free_port(self.at.node) } else { port };
        if !state.listen(self.at, port, options.backlog as usize) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let address = SocketAddr::new(ip(self.at.node), port);
        Ok(Port { network: self.network.clone(), at: self.at, address })
    }

    fn dial(&self, host: &str, port: u16) -> io::Result<Stream> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let Some(to) = state.resolve(self.at.node, host) else {
            let why = format!("the simulation has no node {host:?}");
            return Err(io::Error::new(ErrorKind::NotFound, why));
        };
        let end = state.connect(self.at, to, port);
        let peer = SocketAddr::new(ip(to), port);
        Ok(Stream { network: self.network.clone(), at: self.at, end, peer })
    }
}

impl Net for SimNet {
    fn listen<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ListenOptions,
    ) -> BoxFuture<'a, io::Result<Listener>> {
        Box::pin(async move {
            let port = self.bind(host, port, options)?;
            Ok(Listener::Sim(Box::new(port)))
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<NetStream>> {
        Box::pin(async move {
            let stream = self.dial(host, port)?;
            let established = poll_fn(|cx| stream.poll_established(cx));
            self.clock.alarm(CONNECT_LIMIT);
            match tokio::time::timeout(CONNECT_LIMIT, established).await {
                Ok(connected) => connected?,
                Err(_) => return Err(ErrorKind::TimedOut.into()),
            }
            Ok(NetStream::Boxed(Box::new(stream)))
        })
    }
}

fn alive(state: &NetState, at: Place) -> io::Result<()> {
    if state.is_alive(at) { Ok(()) } else { Err(io::Error::other("its node has ended")) }
}

/// A port that is listened on.
struct Port {
    network: Arc<Network>,
    at: Place,
    address: SocketAddr,
}

impl Port {
    fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<BoxStream>> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let Some(listening) = state.listening(self.at, self.address.port()) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let Some(end) = listening.queue.pop_front() else {
            listening.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let peer = state.side(end.peer()).map_or(self.address, |side| side.address);
        let stream = Stream { network: self.network.clone(), at: self.at, end, peer };
        Poll::Ready(Ok(Box::new(stream)))
    }
}

impl SimListener for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(poll_fn(|cx| self.poll_accept(cx)))
    }

    fn local(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.network.state().stop_listening(self.at, self.address.port());
    }
}

/// One end of a connection.
struct Stream {
    network: Arc<Network>,
    at: Place,
    end: End,
    peer: SocketAddr,
}

impl Stream {
    fn poll_established(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let Some(side) = state.side(self.end) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        if side.refused || side.reset {
            return Poll::Ready(Err(ErrorKind::ConnectionRefused.into()));
        }
        if side.established {
            return Poll::Ready(Ok(()));
        }
        side.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_send(&self, cx: &Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let window = state.window_bytes();
        let Some(side) = state.side(self.end).filter(|side| !side.reset) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        if side.fin_sent {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let room = window.saturating_sub(side.unread_by_peer);
        if room == 0 {
            side.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let data = gather(bufs, room);
        side.unread_by_peer += data.len();
        let sent = data.len();
        state.send_data(self.end, data);
        Poll::Ready(Ok(sent))
    }
}

/// The first bytes of the slices, up to `room`.
fn gather(bufs: &[IoSlice<'_>], room: usize) -> Bytes {
    let mut data = BytesMut::new();
    for buf in bufs {
        let fits = buf.len().min(room - data.len());
        data.extend_from_slice(&buf[..fits]);
    }
    data.freeze()
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let window = state.window_bytes();
        let Some(side) = state.side(self.end).filter(|side| !side.reset) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        let mut taken = 0;
        while let Some(front) = side.inbox.front_mut() {
            let fits = front.len().min(buf.remaining());
            if fits == 0 {
                break;
            }
            buf.put_slice(&front[..fits]);
            front.advance(fits);
            taken += fits;
            if front.is_empty() {
                side.inbox.pop_front();
            }
        }
        if taken > 0 {
            side.taken += taken;
            // A writer that waits is told in time: what it has still to hear of is less than its window.
            if side.taken >= window / 2 {
                let taken = std::mem::take(&mut side.taken);
                state.send(self.end, Segment::Taken(taken));
            }
            return Poll::Ready(Ok(()));
        }
        if side.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        side.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.state();
        alive(&state, self.at)?;
        let Some(side) = state.side(self.end).filter(|side| !side.reset) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        if !std::mem::replace(&mut side.fin_sent, true) {
            state.send(self.end, Segment::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl SimStream for Stream {
    fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.network.state();
        if !state.is_alive(self.at) {
            return;
        }
        let Some(side) = state.side(self.end) else { return };
        // As a kernel does: what was received and never read makes a close a reset.
        let last = match (side.inbox.is_empty(), side.reset || side.fin_sent) {
            (false, _) => Some(Segment::Reset),
            (true, false) => Some(Segment::End),
            (true, true) => None,
        };
        if let Some(last) = last {
            state.send(self.end, last);
        }
        state.abandon(self.end);
    }
}
