//! The `ottla` command.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ottla::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator looks for what it could give back when a thread has no more use for a page: those of a node that rests may never have.
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

/// Returns what is free to the operating system, once the first of it has been free for the allocator's purge delay (a second): all of it,
/// also what has been free for less. That is the turn which any thread takes that frees a page, one of them at a time and at most one in each
/// delay (mimalloc 3: `_mi_page_free`, `mi_arenas_try_purge`); so under load nothing is returned that would not be without this.
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
