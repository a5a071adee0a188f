//! A client of the rig's broker: frames encoded here, one connection.

use std::net::SocketAddr;

use bytes::Bytes;
use runtime::{NetStream, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Part, Request};

use crate::rig::LIMIT;

/// One connection, spoken to as a client does.
pub struct Client {
    world: World,
    stream: NetStream,
    next: i32,
    pub id: Option<String>,
}

impl Client {
    pub async fn connect(world: &World, address: SocketAddr) -> Client {
        let stream = world.net().connect(&address.ip().to_string(), address.port()).await.unwrap();
        Client { world: world.clone(), stream, next: 0, id: Some("rig".into()) }
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version).await;
        self.receive::<R>(version).await
    }

    pub async fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.next += 1;
        let parts = wire::encode_request(request, version, self.next, self.id.as_deref()).unwrap();
        let mut frame = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => frame.extend_from_slice(&bytes),
                Part::External { .. } => panic!("requests have no files"),
            }
        }
        self.stream.write_all(&frame).await.unwrap();
    }

    /// A frame of these bytes, whatever they are.
    pub async fn send_raw(&mut self, body: &[u8]) {
        self.stream.write_i32(i32::try_from(body.len()).unwrap()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
    }

    /// The response to the last request but those that were received since.
    pub async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let frame = self.frame().await.expect("a response, not the connection's end");
        wire::decode_response::<R::Response>(frame, version).unwrap().1
    }

    /// None where the broker closed the connection.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut frame).await.unwrap();
            Some(Bytes::from(frame))
        };
        self.world.timeout(LIMIT, read).await.expect("an answer in time")
    }
}
