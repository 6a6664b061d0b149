//! Files of any size with bytes that can be told apart.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 256 * 1024;

/// Writes a file of `size` bytes that are determined by `seed` and do not compress.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, size: u64, seed: &str) -> Result<()> {
    let mut bytes = blake3::Hasher::new_derive_key(seed).finalize_xof();
    let mut file = BufWriter::new(File::create(path)?);
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let Some(part) = buffer.get_mut(..take) else { break };
        bytes.fill(part);
        file.write_all(part)?;
        left = left.saturating_sub(u64::try_from(take)?);
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// The SHA-256 of a file, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Changes one byte of a file: its lowest bit, at `offset` from the start.
///
/// # Errors
/// When it cannot be read, is shorter, or cannot be written.
pub fn flip(path: &Path, offset: u64) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte = byte.map(|byte| byte ^ 1);
    file.write_all_at(&byte, offset)?;
    file.sync_all()?;
    Ok(())
}

/// A text with its letter in the middle changed; it must be ASCII, as tokens, hashes and signed notes are.
pub fn with_other_letter(text: &str) -> String {
    let middle = text.len() / 2;
    text.char_indices()
        .map(|(index, letter)| match (index == middle, letter) {
            (true, 'A') => 'B',
            (true, _) => 'A',
            (false, letter) => letter,
        })
        .collect()
}
