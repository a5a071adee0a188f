use wire::batch::crc::crc32c;

/// Gives the batches the CRCs that they should have: what is behind the check is fuzzed, too.
pub fn mend_crcs(mut batches: &mut [u8]) {
    while let Some(length) = batches.get(8..12) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length < 49 || batches.len() - 12 < length {
            return;
        }
        let (batch, rest) = batches.split_at_mut(12 + length);
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batches = rest;
    }
}
