//! The bare loop: the least that this machine can spend on a produced batch. A thread per connection reads what is there,
//! checks each batch's CRC, writes it at the end of its partition's file and answers. No names, no checks, no indexes.

use crate::load::whole;
use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use wire::batch::{BatchHeader, HEADER_LEN};

const PARTITIONS: usize = 1024;
/// As much as is read at a time.
const READ: usize = 128 * 1024;

struct Partition {
    file: File,
    end: Mutex<End>,
}

#[derive(Default)]
struct End {
    bytes: u64,
    offset: i64,
}

/// Prints the port, then serves until it is killed.
pub fn serve(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let partition = |index: usize| {
        let file = File::create(directory.join(index.to_string()))?;
        Ok(Partition { file, end: Mutex::default() })
    };
    let partitions: Arc<[Partition]> = (0..PARTITIONS).map(partition).collect::<Result<_>>()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let (stream, partitions) = (stream?, partitions.clone());
        thread::spawn(move || {
            if let Err(error) = connection(stream, &partitions) {
                eprintln!("bench floor: {error}");
            }
        });
    }
    Ok(())
}

fn connection(mut stream: TcpStream, partitions: &[Partition]) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled, mut answers) = (vec![0; READ], 0, Vec::new());
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut taken = 0;
        while let Some(length) = whole(&buffer[taken..filled]).map(<[u8]>::len) {
            let from = taken + 4;
            taken = from + length;
            append(&mut buffer[from..taken], partitions, &mut answers)?;
        }
        stream.write_all(&answers)?;
        answers.clear();
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
    }
}

/// `frame`: a Produce request of version 8 with one batch of one partition, as [`crate::frames`] makes them.
fn append(frame: &mut [u8], partitions: &[Partition], answers: &mut Vec<u8>) -> Result<()> {
    let malformed = || Error::other("not a request of this program");
    let int = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?) as usize);
    let string =
        |at: usize| Some(2 + u16::from_be_bytes(*frame.get(at..)?.first_chunk()?) as usize);
    // Key, version and correlation id; client id; no transactional id, acks, timeout and the count of topics.
    let name = 8 + string(8).ok_or_else(malformed)? + 12;
    let index = name + string(name).ok_or_else(malformed)? + 4;
    let partition = int(index).and_then(|at| partitions.get(at)).ok_or_else(malformed)?;
    let batch = frame.get(index + 8..).ok_or_else(malformed)?;
    let header = BatchHeader::parse(batch).map_err(Error::other)?;
    if header.compute_crc(&batch[HEADER_LEN..]) != header.crc {
        return Err(Error::other("a wrong CRC"));
    }
    let (at, offset) = {
        let mut end = partition.end.lock().unwrap_or_else(PoisonError::into_inner);
        let found = (end.bytes, end.offset);
        end.bytes += batch.len() as u64;
        end.offset += i64::from(header.count);
        found
    };
    let assigned = BatchHeader { base_offset: offset, leader_epoch: 0, ..header }.encode();
    frame[index + 8..][..HEADER_LEN].copy_from_slice(&assigned);
    partition.file.write_all_at(&frame[index + 8..], at)?;
    answer(frame, name, index, offset, answers);
    Ok(())
}

fn answer(frame: &[u8], name: usize, index: usize, offset: i64, answers: &mut Vec<u8>) {
    let begin = answers.len();
    answers.extend([0; 4]);
    answers.extend_from_slice(&frame[4..8]);
    answers.extend(1_i32.to_be_bytes());
    answers.extend_from_slice(&frame[name..index - 4]);
    answers.extend(1_i32.to_be_bytes());
    answers.extend_from_slice(&frame[index..index + 4]);
    answers.extend(0_i16.to_be_bytes());
    answers.extend(offset.to_be_bytes());
    // No append time, a log that starts at 0, no record's error, no message; then no throttle.
    answers.extend((-1_i64).to_be_bytes());
    answers.extend(0_i64.to_be_bytes());
    answers.extend(0_i32.to_be_bytes());
    answers.extend((-1_i16).to_be_bytes());
    answers.extend(0_i32.to_be_bytes());
    let length = (answers.len() - begin - 4) as u32;
    answers[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}
