use super::Log;

/// Reads of every kind: what they find in a damaged log does not matter, that they end does.
pub fn use_all(log: &Log) {
    let view = log.view();
    for offset in (0..160).step_by(7) {
        if let Ok(read) = view.read(offset, 300, true, i64::MAX) {
            let _ = read.slice.read();
            let _ = view.aborted_in(offset, &read);
        }
    }
    let _ = view.offset_for_timestamp(1050);
    let _ = view.max_timestamp();
    let _ = view.batches_from(0).for_each(|_| true);
    let _ = view.aborted_transactions(0, i64::MAX);
}
