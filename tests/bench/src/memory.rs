//! Memory that the host of a virtual machine has given.

/// Touches memory and frees it: what is written next takes these pages. A guest that reports its free pages to its host
/// (page_reporting of virtio_balloon) pays a fault in the host for each page it takes again, which it sees as system time of
/// its own: 2 s/GB on a copy that takes 0.4. No broker spends that; it would fall on whoever writes first.
pub fn given(bytes: usize) {
    std::hint::black_box(vec![1u8; bytes]);
}
