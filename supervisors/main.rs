//! The `ottla` command.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ottla::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator looks for what it could give back when a thread has allocated a lot: those of a node that rests may never do.
const GIVE_BACK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = ottla::cli::Cli::parse();
    // A process that has no thread for it only takes more memory.
    let _ = thread::Builder::new().name("ottla-memory".to_owned()).spawn(give_memory_back);
    let ended = match logging::loggers(&std::env::var(logging::VARIABLE).unwrap_or_default()) {
        Ok(loggers) => {
            logging::write_to_stderr(loggers.clone());
            ottla::run::run(cli, &loggers)
        }
        Err(error) => {
            ottla::run::complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    };
    ottla::run::last_words();
    ended
}

/// Returns to the operating system what has been free for longer than the allocator's purge delay.
fn give_memory_back() {
    // The allocator does nothing for a thread that has never allocated.
    let first = Box::new(0_u8);
    drop(std::hint::black_box(first));
    loop {
        thread::park_timeout(GIVE_BACK);
        // SAFETY: mimalloc's own call for any thread at any time; it touches no memory that is in use.
        #[expect(
            unsafe_code,
            reason = "nothing safe gives memory back: 14 MiB stay otherwise after the load of tests/conformance/idle.rs"
        )]
        unsafe {
            libmimalloc_sys::mi_collect(false);
        }
    }
}
