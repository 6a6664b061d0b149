//! Real daemons on loopback: the harness and the suites on it.
