//! The committed corpus of the fuzz targets, through the same functions: what was found once is not found again. And changes of
//! it, for which no fuzzer has to be built.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// How many changed inputs each target gets; `CHANGES` in the environment asks for more.
const CHANGES: u64 = 300;
/// The longest input, in bytes: that of the fuzzer.
const BYTES_MAX: usize = 64 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs of a target, by name.
fn inputs(target: &str) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let directory = fuzz().join("corpus").join(target);
    let entries =
        std::fs::read_dir(&directory).with_context(|| format!("`{target}` has no corpus"))?;
    let mut inputs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        inputs.push((path, bytes));
    }
    inputs.sort();
    ensure!(!inputs.is_empty(), "`{target}` has an empty corpus");
    Ok(inputs)
}

#[test]
fn the_corpus_of_every_fuzz_target_holds() -> Result<()> {
    for (name, target) in targets::TARGETS {
        for (path, bytes) in inputs(name)? {
            let held = std::panic::catch_unwind(|| target(&bytes));
            ensure!(held.is_ok(), "`{}` does not hold", path.display());
        }
    }
    let directories = std::fs::read_dir(fuzz().join("corpus"))?.count();
    assert_eq!(directories, targets::TARGETS.len(), "a corpus without a target");
    Ok(())
}

#[test]
fn every_fuzz_target_holds_for_changes_of_its_corpus() -> Result<()> {
    let changes = std::env::var("CHANGES").ok().and_then(|count| count.parse().ok());
    for (name, target) in targets::TARGETS {
        let inputs = inputs(name)?;
        // The same changes in every run: a finding can be had again.
        let mut chance = Chance(0x5eed);
        for number in 0..changes.unwrap_or(CHANGES) {
            let bytes = change(&inputs, &mut chance);
            let held = std::panic::catch_unwind(|| target(&bytes));
            if held.is_err() {
                let directory = fuzz().join("found").join(name);
                std::fs::create_dir_all(&directory)?;
                let path = directory.join(format!("change-{number}"));
                std::fs::write(&path, &bytes)?;
                anyhow::bail!("`{}` does not hold", path.display());
            }
        }
    }
    Ok(())
}

/// Numbers without a pattern (splitmix64).
struct Chance(u64);

impl Chance {
    /// A number below a limit, or 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap_or(1).max(1);
        usize::try_from(number).unwrap_or(0)
    }
}

/// What parsers are weak at.
const WORDS: [&[u8]; 24] = [
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"-1",
    b"-0.0",
    b"1e400",
    b"1e-400",
    b"18446744073709551615",
    b"9007199254740993",
    b"\xff\xfe",
    b"\\ud800",
    b"\\u0000",
    b"\0",
    b"\"@id\":",
    b"\"v\":2",
    b"\xe2\x80\xae",
    b"%00",
    b"%2f",
    b"..",
    b"\r\n",
    b"\xff\xff\xff\xff",
    b"[[[[[[[[",
    b"}",
];

/// One to four changes of one input.
fn change(inputs: &[(PathBuf, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    let any = |chance: &mut Chance| {
        inputs.get(chance.below(inputs.len())).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    };
    let mut bytes = any(chance);
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + 1 + chance.below(16)).min(bytes.len());
        match chance.below(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(chance.below(256)).unwrap_or_default();
                }
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes.get(at..end).unwrap_or_default().repeat(1 + chance.below(40));
                bytes.splice(at..at, piece);
            }
            4 => {
                let word = WORDS.get(chance.below(WORDS.len())).copied().unwrap_or_default();
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let word = WORDS.get(chance.below(WORDS.len())).copied().unwrap_or_default();
                bytes.splice(at..end, word.iter().copied());
            }
            _ => {
                let other = any(chance);
                let from = chance.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}
