//! The way to a listener from within its process: a connection like any other, past sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use runtime::{NetStream, SimStream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{Mutex, mpsc};

/// In each direction, on its way. Bytes.
const UNDER_WAY: usize = 256 << 10;
/// So many wait to be accepted.
const WAITING: usize = 64;
/// Where those within come from, as far as addresses are counted.
const WITHIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// For those who connect. It keeps nothing of the listener.
#[derive(Clone)]
pub struct Door {
    name: String,
    address: SocketAddr,
    open: Arc<AtomicBool>,
    to: mpsc::Sender<NetStream>,
}

/// For the listener.
#[derive(Clone)]
pub(crate) struct Inside {
    open: Arc<AtomicBool>,
    from: Arc<Mutex<mpsc::Receiver<NetStream>>>,
}

impl Door {
    pub(crate) fn of(name: &str, address: SocketAddr) -> (Door, Inside) {
        let (to, from) = mpsc::channel(WAITING);
        let open = Arc::new(AtomicBool::new(false));
        let inside = Inside { open: open.clone(), from: Arc::new(Mutex::new(from)) };
        (Door { name: name.to_owned(), address, open, to }, inside)
    }

    /// Of the listener.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the listener's socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// # Errors
    /// Refused, as long as the listener lets nobody in.
    pub async fn connect(&self) -> io::Result<NetStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        if !self.open.load(Ordering::Acquire) {
            return Err(refused());
        }
        let (ours, theirs) = duplex(UNDER_WAY);
        let theirs = Within { stream: theirs, peer: WITHIN };
        let sent = self.to.send(NetStream::Boxed(Box::new(theirs))).await;
        sent.map_err(|_| refused())?;
        Ok(NetStream::Boxed(Box::new(Within { stream: ours, peer: self.address })))
    }
}

impl Inside {
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Those who wait find that nobody listens.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Release);
        if let Ok(mut from) = self.from.try_lock() {
            while from.try_recv().is_ok() {}
        }
    }

    /// The next, and where it comes from.
    pub(crate) async fn accept(&self) -> io::Result<(NetStream, SocketAddr)> {
        let next = self.from.lock().await.recv().await;
        next.map(|stream| (stream, WITHIN)).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

struct Within {
    stream: DuplexStream,
    peer: SocketAddr,
}

impl SimStream for Within {
    fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Within {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Within {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
