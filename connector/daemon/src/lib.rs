//! The sekisho binary: daemon, listeners, data plane, management and command line.
