//! The `ottla` command.

use std::process::ExitCode;

use clap::Parser;
use ottla::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = ottla::cli::Cli::parse();
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
