//! Builds images from the log as it is read, and holds back what a metadata transaction has not yet ended.

use wire::MetadataRecord;

use super::image::MetadataImage;
use super::replay::ReplayError;

/// The state of reading: the newest image, and while a transaction is open, the one from before it.
#[derive(Debug, Clone, Default)]
pub struct MetadataLoader {
    newest: MetadataImage,
    open: Option<OpenTransaction>,
}

#[derive(Debug, Clone)]
struct OpenTransaction {
    start_offset: i64,
    before: MetadataImage,
}

impl MetadataLoader {
    /// Continues after what the image contains, such as that of a snapshot.
    pub fn from_image(image: MetadataImage) -> MetadataLoader {
        MetadataLoader { newest: image, open: None }
    }

    /// What may be shown to others: nothing of a transaction that is still open.
    pub fn image(&self) -> &MetadataImage {
        self.open.as_ref().map_or(&self.newest, |open| &open.before)
    }

    /// With what an open transaction did so far: what the controller decides upon.
    pub fn newest(&self) -> &MetadataImage {
        &self.newest
    }

    /// Where the open transaction began.
    pub fn transaction_start(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.start_offset)
    }

    /// An error leaves everything as it was.
    pub fn replay(
        &mut self,
        record: &MetadataRecord,
        offset: i64,
        epoch: i32,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::BeginTransaction(_) => {
                if self.open.is_some() {
                    return Err(ReplayError::NestedTransaction { offset });
                }
                self.open =
                    Some(OpenTransaction { start_offset: offset, before: self.newest.clone() });
            }
            MetadataRecord::EndTransaction(_) => {
                self.open.take().ok_or(ReplayError::NoTransaction { offset })?;
            }
            MetadataRecord::AbortTransaction(_) => {
                let open = self.open.take().ok_or(ReplayError::NoTransaction { offset })?;
                self.newest = open.before;
            }
            _ => {}
        }
        self.newest.replay(record, offset, epoch)
    }

    /// The log went on by an offset that holds no metadata record, such as a leader change.
    pub fn skip_to(&mut self, offset: i64, epoch: i32) {
        self.newest.provenance = super::image::Provenance { offset, epoch };
    }
}
