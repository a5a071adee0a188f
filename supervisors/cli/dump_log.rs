//! The options of `ottla dump-log`: those of kafka-dump-log.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};

use crate::dump_log::{Coordinator, Decoder, Options, PlainDecoder};

#[derive(Debug, Clone, PartialEq, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["paths", "files"]), infer_long_args = true)]
pub struct DumpLog {
    /// Files, or directories whose files are dumped: those of the cluster's own topics in their own records' form
    #[arg(value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Data and index files to dump: .log, .checkpoint, .index, .timeindex, .txnindex, .snapshot
    #[arg(long, value_name = "FILE,FILE...", value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Print the records; any decoder does so too
    #[arg(long)]
    pub print_data_log: bool,
    /// Look at each record, not at batches alone
    #[arg(long)]
    pub deep_iteration: bool,
    /// Print no metadata of records, and no control records
    #[arg(long)]
    pub skip_record_metadata: bool,
    /// Check indexes as a start does, and print nothing of them
    #[arg(long)]
    pub index_sanity_check: bool,
    /// Compare offset and time indexes with their log, and print nothing of them
    #[arg(long)]
    pub verify_index_only: bool,
    /// The largest batch that an index is expected to point at
    #[arg(long, value_name = "BYTES", default_value_t = 5 * 1024 * 1024, value_parser = clap::value_parser!(i32).range(0..))]
    pub max_message_size: i32,
    /// Read no more than this of each log
    #[arg(long, value_name = "BYTES", default_value_t = i32::MAX, value_parser = clap::value_parser!(i32).range(0..))]
    pub max_bytes: i32,
    /// Records of __consumer_offsets
    #[arg(long)]
    pub offsets_decoder: bool,
    /// Records of __transaction_state
    #[arg(long)]
    pub transaction_log_decoder: bool,
    /// Records of __cluster_metadata
    #[arg(long)]
    pub cluster_metadata_decoder: bool,
    /// Records of __remote_log_metadata
    #[arg(long)]
    pub remote_log_metadata_decoder: bool,
    /// Records of __share_group_state
    #[arg(long)]
    pub share_group_state_decoder: bool,
    /// How values are read: StringDecoder, IntegerDecoder, LongDecoder, or DefaultDecoder for hexadecimal
    #[arg(long, value_name = "CLASS", num_args = 0..=1, default_missing_value = "StringDecoder")]
    pub value_decoder_class: Option<PlainDecoder>,
    /// How keys are read: likewise
    #[arg(long, value_name = "CLASS", num_args = 0..=1, default_missing_value = "StringDecoder")]
    pub key_decoder_class: Option<PlainDecoder>,
}

impl DumpLog {
    pub fn options(&self) -> Options {
        let decoder = self.decoder();
        let print_data = self.print_data_log || decoder.is_some();
        Options {
            paths: self.paths.clone(),
            files: self.files.clone(),
            print_data,
            deep: self.deep_iteration || print_data,
            skip_record_metadata: self.skip_record_metadata,
            sanity_check: self.index_sanity_check,
            verify_only: self.verify_index_only,
            max_message_size: self.max_message_size as u64,
            max_bytes: (self.max_bytes != i32::MAX).then_some(self.max_bytes as u64),
            decoder,
        }
    }

    /// The first of Kafka's order that is asked for.
    fn decoder(&self) -> Option<Decoder> {
        let (key, value) = (self.key_decoder_class, self.value_decoder_class);
        let classes = Decoder::Plain {
            key: key.unwrap_or(PlainDecoder::Text),
            value: value.unwrap_or(PlainDecoder::Text),
        };
        let all = [
            (self.offsets_decoder, Decoder::Coordinator(Coordinator::Group)),
            (self.transaction_log_decoder, Decoder::Coordinator(Coordinator::Transaction)),
            (self.cluster_metadata_decoder, Decoder::ClusterMetadata),
            (self.remote_log_metadata_decoder, Decoder::RemoteLogMetadata),
            (self.share_group_state_decoder, Decoder::Coordinator(Coordinator::Share)),
            (key.is_some() || value.is_some(), classes),
        ];
        all.into_iter().find(|(asked, _)| *asked).map(|(_, decoder)| decoder)
    }
}

impl FromStr for PlainDecoder {
    type Err = String;

    /// By the name of Kafka's class, with or without its package. A class of one's own cannot be loaded.
    fn from_str(class: &str) -> Result<PlainDecoder, String> {
        let name = class.strip_prefix("org.apache.kafka.tools.api.").unwrap_or(class);
        let name = name.strip_prefix("kafka.serializer.").unwrap_or(name);
        let known = [
            ("StringDecoder", PlainDecoder::Text),
            ("IntegerDecoder", PlainDecoder::Int),
            ("LongDecoder", PlainDecoder::Long),
            ("DefaultDecoder", PlainDecoder::Hex),
        ];
        let found = known.into_iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes);
        let names = known.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("Java classes cannot be loaded; built in are {names}"))
    }
}
