//! What the files of a log hold, line for line as kafka-dump-log prints it (Kafka's `DumpLogSegments`), so that scripts that read its
//! output read this. Where Kafka's tool falls over what it finds, the command ends with an error that says what and where.
//!
//! Memory is bounded, whatever the files claim: a batch whose records are looked at is held whole, up to 64 MiB compressed and as much
//! again decompressed; everything else is read in blocks.

mod batches;
mod index;
mod log;
mod records;
mod remote;
mod state;
mod told;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use disk::{Disk, DiskError, FileKind};

use told::Told;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Files and directories; where no decoder is named, the files of internal topics get their own.
    pub paths: Vec<PathBuf>,
    /// Files alone, as Kafka's tool takes them.
    pub files: Vec<PathBuf>,
    pub print_data: bool,
    /// Records are looked at.
    pub deep: bool,
    pub skip_record_metadata: bool,
    pub sanity_check: bool,
    pub verify_only: bool,
    /// PlainDecoder.
    pub max_message_size: u64,
    /// PlainDecoder of each log that are read; what lies behind is then no remainder.
    pub max_bytes: Option<u64>,
    pub decoder: Option<Decoder>,
}

/// How records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    Plain { key: PlainDecoder, value: PlainDecoder },
    Coordinator(Coordinator),
    ClusterMetadata,
    RemoteLogMetadata,
}

/// Whose topic it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinator {
    Group,
    Transaction,
    Share,
}

/// How bytes that are nobody's schema are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainDecoder {
    Text,
    Int,
    Long,
    Hex,
}

#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{path:?} holds no file of a log")]
    Nothing { path: PathBuf },
    #[error("{path:?} is not named {expected}")]
    Name { path: PathBuf, expected: &'static str },
    #[error("{path:?} is corrupt at position {position}: {why}")]
    Corrupt { path: PathBuf, position: u64, why: String },
    #[error("index {path:?} is corrupt: {why}")]
    Index { path: PathBuf, why: String },
    #[error("the record at offset {offset} cannot be decoded: {why}")]
    Record { offset: i64, why: String },
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl DumpError {
    /// Whoever read the output has seen enough.
    pub fn is_closed_output(&self) -> bool {
        matches!(self, DumpError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The kinds of files, by their suffixes.
const SUFFIXES: [&str; 6] =
    [".log", ".checkpoint", ".index", ".timeindex", ".snapshot", ".txnindex"];

/// What one file is dumped with.
struct Dump<'a> {
    disk: &'a dyn Disk,
    options: &'a Options,
    decoder: Decoder,
    print_data: bool,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    told: &'a mut Told,
}

/// Dumps all files, and then tells what does not fit together.
pub fn dump(
    disk: &dyn Disk,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), DumpError> {
    let mut told = Told::default();
    let mut files: Vec<(PathBuf, Option<Decoder>)> =
        options.files.iter().map(|file| (file.clone(), None)).collect();
    for path in &options.paths {
        for file in expand(disk, path)? {
            let own = file.parent().and_then(|dir| dir.file_name()).and_then(own_decoder);
            files.push((file, own));
        }
    }
    for (path, own) in files {
        let decoder = options.decoder.or(own);
        let print_data = options.print_data || decoder.is_some();
        let decoder = decoder
            .unwrap_or(Decoder::Plain { key: PlainDecoder::Text, value: PlainDecoder::Text });
        let told = &mut told;
        Dump { disk, options, decoder, print_data, out, err, told }.file(&path)?;
    }
    out.flush()?;
    told.print(err)?;
    Ok(())
}

impl Dump<'_> {
    fn file(&mut self, path: &Path) -> Result<(), DumpError> {
        writeln!(self.out, "Dumping {}", path.display())?;
        match suffix(path) {
            ".log" | ".checkpoint" => self.log(path),
            ".index" => self.offset_index(path),
            ".timeindex" => self.time_index(path),
            ".snapshot" => self.producer_snapshot(path),
            ".txnindex" => self.txn_index(path),
            _ => {
                self.out.flush()?;
                Ok(writeln!(self.err, "Ignoring unknown file {}", path.display())?)
            }
        }
    }
}

fn suffix(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rfind('.').map_or("", |at| &name[at..])
}

/// The offset that the file's name begins with.
fn base_offset(path: &Path) -> Result<i64, DumpError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let offset = name.split('.').next().and_then(|digits| digits.parse().ok());
    let expected = "by the offset it begins with";
    offset.ok_or_else(|| DumpError::Name { path: path.to_owned(), expected })
}

fn expand(disk: &dyn Disk, path: &Path) -> Result<Vec<PathBuf>, DumpError> {
    if disk.metadata(path)?.kind != FileKind::Dir {
        return Ok(vec![path.to_owned()]);
    }
    let entries = disk.list(path)?.into_iter().filter(|entry| entry.kind == FileKind::File);
    let files = entries.map(|entry| path.join(entry.name));
    let files: Vec<PathBuf> = files.filter(|file| SUFFIXES.contains(&suffix(file))).collect();
    if files.is_empty() {
        return Err(DumpError::Nothing { path: path.to_owned() });
    }
    Ok(files)
}

/// The decoder of the topic whose partition this directory is.
fn own_decoder(dir: &std::ffi::OsStr) -> Option<Decoder> {
    let (topic, _) = dir.to_str()?.rsplit_once('-')?;
    Some(match topic {
        "__consumer_offsets" => Decoder::Coordinator(Coordinator::Group),
        "__transaction_state" => Decoder::Coordinator(Coordinator::Transaction),
        "__share_group_state" => Decoder::Coordinator(Coordinator::Share),
        "__cluster_metadata" => Decoder::ClusterMetadata,
        "__remote_log_metadata" => Decoder::RemoteLogMetadata,
        _ => return None,
    })
}
