//! The sekisho binary: the daemon and its command line. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    daemon::cli::run()
}
