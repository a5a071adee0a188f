use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::BoxFuture;

/// How a node listens and connects.
pub trait Net: Send + Sync + 'static {
    /// Listens on `host:port`; port 0 takes a free one.
    fn listen<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ListenOptions,
    ) -> BoxFuture<'a, io::Result<Listener>>;

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<NetStream>>;

    /// As [`connect`](Self::connect), with a socket of one's own liking where there is one.
    fn connect_with<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        _options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<NetStream>> {
        self.connect(host, port)
    }

    /// So many connections may be accepted and open at a time; what opens more takes descriptors that others need.
    fn most_accepted(&self) -> usize {
        usize::MAX
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectOptions {
    /// Size of the socket's buffer; `None` leaves the operating system's.
    pub receive_buffer: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    pub backlog: u32,
    /// Socket buffer sizes; `None` leaves the operating system's.
    pub send_buffer: Option<u32>,
    pub receive_buffer: Option<u32>,
}

impl Default for ListenOptions {
    /// One that finds no room among those that wait knocks again after a second, and a thread that accepts may be kept from it for
    /// some milliseconds, in which hundreds knock. Linux allows no more unless it is told to.
    fn default() -> Self {
        ListenOptions { backlog: 4096, send_buffer: None, receive_buffer: None }
    }
}

/// A stream that is no socket: simulated, or wrapped in TLS.
pub trait SimStream: AsyncRead + AsyncWrite + Send + Unpin {
    fn peer(&self) -> SocketAddr;
}

pub type BoxStream = Box<dyn SimStream>;

pub trait SimListener: Send + Sync {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxStream>>;
    fn local(&self) -> SocketAddr;
}

pub enum Listener {
    #[expect(clippy::disallowed_types, reason = "the real network itself")]
    Tcp(tokio::net::TcpListener),
    Sim(Box<dyn SimListener>),
}

impl Listener {
    /// The next connection, and where it comes from.
    pub async fn accept(&self) -> io::Result<(NetStream, SocketAddr)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // One that came by IPv4 to a socket of both families is nobody else for that.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((NetStream::Tcp(stream), peer))
            }
            Listener::Sim(listener) => {
                let stream = listener.accept().await?;
                let peer = stream.peer();
                Ok((NetStream::Boxed(stream), peer))
            }
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Sim(listener) => Ok(listener.local()),
        }
    }
}

/// A connection. A real socket reaches vectored writes and sendfile without indirection.
pub enum NetStream {
    #[expect(clippy::disallowed_types, reason = "the real network itself")]
    Tcp(tokio::net::TcpStream),
    Boxed(BoxStream),
}

impl NetStream {
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            NetStream::Tcp(stream) => stream.peer_addr(),
            NetStream::Boxed(stream) => Ok(stream.peer()),
        }
    }

    /// Waits until there is something to read, so that no buffer need wait with it. A stream that cannot tell says so at once.
    pub async fn readable(&mut self) -> io::Result<()> {
        match self {
            NetStream::Tcp(stream) => stream.readable().await,
            NetStream::Boxed(_) => Ok(()),
        }
    }

    /// Whether [`send_file`](Self::send_file) works here; else the bytes must be read and written.
    pub fn sends_files(&self) -> bool {
        matches!(self, NetStream::Tcp(_))
    }

    /// Hands up to `len` bytes of a file from `pos` on to the kernel; how many it took, 0 at the file's end. The file is asked
    /// for when the socket has room, and is held no longer than that: a peer that does not read keeps no file open.
    pub async fn send_file<F: AsFd>(
        &mut self,
        file: impl Fn() -> io::Result<F>,
        pos: u64,
        len: usize,
    ) -> io::Result<usize> {
        let NetStream::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let send = || {
            let mut pos = pos;
            Ok(rustix::fs::sendfile(&*stream, file()?, Some(&mut pos), len)?)
        };
        stream.async_io(Interest::WRITABLE, send).await
    }

    /// Writes some of `bytes`, telling the kernel that more follows at once (a header before a file); how many it took.
    pub async fn write_before_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            NetStream::Tcp(stream) => {
                let send = || Ok(rustix::net::send(&*stream, bytes, MORE)?);
                stream.async_io(Interest::WRITABLE, send).await
            }
            NetStream::Boxed(stream) => {
                poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await
            }
        }
    }
}

const MORE: rustix::net::SendFlags =
    rustix::net::SendFlags::MORE.union(rustix::net::SendFlags::NOSIGNAL);

impl AsyncRead for NetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            NetStream::Boxed(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            NetStream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            NetStream::Boxed(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            NetStream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            NetStream::Boxed(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            NetStream::Tcp(stream) => stream.is_write_vectored(),
            NetStream::Boxed(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            NetStream::Boxed(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            NetStream::Boxed(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The operating system's network.
#[derive(Debug)]
pub struct RealNet {
    pub most_accepted: usize,
}

impl Net for RealNet {
    fn most_accepted(&self) -> usize {
        self.most_accepted
    }

    fn listen<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ListenOptions,
    ) -> BoxFuture<'a, io::Result<Listener>> {
        Box::pin(async move {
            if matches!(host, "" | "0.0.0.0") {
                return bind_any(port, options).map(Listener::Tcp);
            }
            let mut last = no_address(host);
            for addr in resolve(host, port).await? {
                match bind(addr, options) {
                    Ok(listener) => return Ok(Listener::Tcp(listener)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<NetStream>> {
        self.connect_with(host, port, ConnectOptions::default())
    }

    fn connect_with<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<NetStream>> {
        Box::pin(async move {
            let mut last = no_address(host);
            for addr in resolve(host, port).await? {
                let socket = socket(addr)?;
                if let Some(size) = options.receive_buffer {
                    socket.set_recv_buffer_size(size)?;
                }
                match socket.connect(addr).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(NetStream::Tcp(stream));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the real network itself")]
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn socket(addr: SocketAddr) -> io::Result<tokio::net::TcpSocket> {
    match addr {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }
}

#[expect(clippy::disallowed_types, reason = "the real network itself")]
fn bind(addr: SocketAddr, options: ListenOptions) -> io::Result<tokio::net::TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuseaddr(true)?;
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if addr.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(addr)?;
    socket.listen(options.backlog)
}

/// Every address of the machine, of both families as Java does, also where it was told of one; where there is but one, of that.
#[expect(clippy::disallowed_types, reason = "the real network itself")]
fn bind_any(port: u16, options: ListenOptions) -> io::Result<tokio::net::TcpListener> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into(), options) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, port).into(), options)
        }
        done => done,
    }
}

fn no_address(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no address for {host}"))
}
