//! The sekisho binary: the daemon and its command line. Everything is in the library.

use std::process::ExitCode;

/// A negotiation allocates much: the C library's allocator takes a quarter of its time (ADR 31).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    daemon::cli::run()
}
