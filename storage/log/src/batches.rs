//! All batches from an offset on, for those who rebuild state from a log.

use wire::batch::{BatchHeader, RecordBatch};

use crate::error::ReadError;
use crate::scan::{BatchScan, HeaderScan};
use crate::view::LogView;

const BLOCK: usize = 256 * 1024;

/// Steps through a view's batches; holds no file position between steps but its own numbers.
#[derive(Debug, Clone)]
pub struct BatchesFrom {
    view: LogView,
    segment: usize,
    position: u64,
    from: i64,
}

impl LogView {
    /// The batches that end at or after `offset`, to the view's end.
    pub fn batches_from(&self, offset: i64) -> BatchesFrom {
        let segment = self.segment_index(offset);
        let size = self.size_of(segment);
        let position = self.segments[segment].start_for(offset, size);
        BatchesFrom { view: self.clone(), segment, position, from: offset }
    }
}

impl BatchesFrom {
    /// Calls `each` with every header; batches whose records are needed can be asked for. Ends early where `each` says false.
    pub fn for_each_header(
        &mut self,
        mut each: impl FnMut(&BatchHeader) -> bool,
    ) -> Result<(), ReadError> {
        while let Some((file, size)) = self.current() {
            let mut scan = HeaderScan::new(&*file, self.position, size);
            while let Some((position, header)) = scan.next()? {
                self.position = position + header.size() as u64;
                if header.last_offset() >= self.from && !each(&header) {
                    return Ok(());
                }
            }
            self.next_segment();
        }
        Ok(())
    }

    /// Calls `each` with every batch whole. Ends early where `each` says false.
    pub fn for_each(&mut self, mut each: impl FnMut(RecordBatch) -> bool) -> Result<(), ReadError> {
        while let Some((file, size)) = self.current() {
            let mut scan = BatchScan::new(&*file, self.position, size, BLOCK);
            while let Some((position, batch)) = scan.next()? {
                self.position = position + batch.size() as u64;
                if batch.header().last_offset() >= self.from && !each(batch) {
                    return Ok(());
                }
            }
            self.next_segment();
        }
        Ok(())
    }

    fn current(&self) -> Option<(std::sync::Arc<dyn disk::DiskFile>, u64)> {
        let segment = self.view.segments.get(self.segment)?;
        Some((segment.file.clone(), self.view.size_of(self.segment)))
    }

    fn next_segment(&mut self) {
        self.segment += 1;
        self.position = 0;
    }
}
