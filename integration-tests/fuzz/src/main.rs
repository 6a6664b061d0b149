//! The fuzzer: libFuzzer around one of the functions of `targets`, named by the environment variable `FUZZ_TARGET`.

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    let names = targets::TARGETS.map(|(known, _)| known).join(", ");
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is `{name}`; the targets are: {names}")).1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
