//! The console's connections: few, and none for long. What it takes of the process's descriptors is so little that nobody misses it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use runtime::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::guard::Arrived;

/// Enough for a browser, who scrapes metrics and who draws the tree. One more takes the place of the oldest.
const MOST: usize = 16;
/// A connection lives no longer than this, whatever it does.
const LONGEST: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_types, reason = "the console is for people; simulations have none")]
type TcpListener = tokio::net::TcpListener;
#[expect(clippy::disallowed_types, reason = "the console is for people; simulations have none")]
type TcpStream = tokio::net::TcpStream;

/// Accepts whoever comes.
pub(super) struct Few {
    listener: TcpListener,
    /// Those that are open, the oldest first. What is dropped here ends there.
    open: VecDeque<oneshot::Sender<()>>,
}

impl Few {
    pub(super) fn of(listener: TcpListener) -> Few {
        Few { listener, open: VecDeque::new() }
    }
}

impl Listener for Few {
    type Io = Short;
    type Addr = Arrived;

    async fn accept(&mut self) -> (Short, Arrived) {
        let (stream, _) = Listener::accept(&mut self.listener).await;
        self.open.retain(|open| !open.is_closed());
        if self.open.len() >= MOST {
            self.open.pop_front();
        }
        let (open, replaced) = oneshot::channel();
        self.open.push_back(open);
        let over = Box::pin(async move { drop(tokio::time::timeout(LONGEST, replaced).await) });
        let arrived = Arrived(stream.local_addr().ok());
        (Short { stream, over: Some(over) }, arrived)
    }

    fn local_addr(&self) -> io::Result<Arrived> {
        self.listener.local_addr().map(|address| Arrived(Some(address)))
    }
}

/// A connection that ends in time.
pub(super) struct Short {
    stream: TcpStream,
    /// Ready when it is to end; none once it has.
    over: Option<BoxFuture<'static, ()>>,
}

impl Short {
    /// The stream, while there is time.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_pending()) {
            return Ok(Pin::new(&mut self.stream));
        }
        self.over = None;
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Short {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Short {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_shutdown(cx)
    }
}
