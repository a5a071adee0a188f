//! A connection that sends any bytes, and the few requests that the tests encode by hand: not with the crate under test.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the broker counts as silent.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The body behind the correlation id.
    Body(Vec<u8>),
    /// The broker closed the connection, in either way TCP has.
    Closed,
    /// Nothing came.
    Silent,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        Connection::try_open(address).unwrap_or_else(|| panic!("cannot connect to {address}"))
    }

    pub fn try_open(address: SocketAddr) -> Option<Connection> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Connection { stream, correlation: 0 })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The broker may have closed already: what follows is then read as `Closed`.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    pub fn finish_sending(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Sends a request whose header is not flexible.
    pub fn send(&mut self, key: i16, version: i16, body: &[u8]) {
        self.correlation += 1;
        let frame = frame(key, version, self.correlation, body);
        self.send_bytes(&frame);
    }

    /// For frames sent as bytes, whose correlation ids count up from 1.
    pub fn expect_next(&mut self) {
        self.correlation += 1;
    }

    pub fn ask(&mut self, key: i16, version: i16, body: &[u8]) -> Answer {
        self.send(key, version, body);
        self.receive()
    }

    pub fn receive(&mut self) -> Answer {
        let mut size = [0; 4];
        if let Err(answer) = self.fill(&mut size) {
            return answer;
        }
        let size = i32::from_be_bytes(size);
        assert!((4..1 << 28).contains(&size), "a response of {size} bytes");
        let mut frame = vec![0; size as usize];
        match self.fill(&mut frame) {
            Ok(()) => {
                assert_eq!(frame[..4], self.correlation.to_be_bytes(), "correlation id");
                Answer::Body(frame.split_off(4))
            }
            Err(answer) => answer,
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Answer> {
        self.stream.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Answer::Silent,
            _ => Answer::Closed,
        })
    }

    /// Asks for ApiVersions and checks that the answer is one.
    pub fn is_served(&mut self) -> bool {
        matches!(self.ask(18, 0, &[]), Answer::Body(body) if body[..2] == [0, 0])
    }
}

impl Answer {
    pub fn body(self) -> Body {
        match self {
            Answer::Body(bytes) => Body { bytes, at: 0 },
            other => panic!("expected a response, found {other:?}"),
        }
    }
}

pub fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let client = Bytes::new().string("conformance").done();
    frame_of(key, version, correlation, &client, body)
}

/// Of a client whose id is these bytes, its length among them.
pub fn frame_of(key: i16, version: i16, correlation: i32, client: &[u8], body: &[u8]) -> Vec<u8> {
    let header = Bytes::new().i16(key).i16(version).i32(correlation).raw(client).done();
    Bytes::new().i32((header.len() + body.len()) as i32).raw(&header).raw(body).done()
}

/// Writes Kafka's primitive types, not flexible.
#[derive(Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn new() -> Bytes {
        Bytes::default()
    }

    pub fn i8(self, value: i8) -> Bytes {
        self.raw(&value.to_be_bytes())
    }

    pub fn i16(self, value: i16) -> Bytes {
        self.raw(&value.to_be_bytes())
    }

    pub fn i32(self, value: i32) -> Bytes {
        self.raw(&value.to_be_bytes())
    }

    pub fn i64(self, value: i64) -> Bytes {
        self.raw(&value.to_be_bytes())
    }

    pub fn string(self, text: &str) -> Bytes {
        self.i16(text.len() as i16).raw(text.as_bytes())
    }

    pub fn bytes(self, bytes: &[u8]) -> Bytes {
        self.i32(bytes.len() as i32).raw(bytes)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads Kafka's primitive types, not flexible, from a response.
pub struct Body {
    bytes: Vec<u8>,
    at: usize,
}

impl Body {
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let from = self.at;
        self.at += N;
        self.bytes[from..self.at].try_into().expect("N bytes")
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    pub fn string(&mut self) -> String {
        let length = self.i16().max(0) as usize;
        self.at += length;
        String::from_utf8_lossy(&self.bytes[self.at - length..self.at]).into_owned()
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}
