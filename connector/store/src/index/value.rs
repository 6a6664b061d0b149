//! The form of an entity in the index: its version, then its JSON.

use std::sync::Arc;

use engine::{Entity, Position};

use super::IndexError;
use crate::state::Stored;

/// The most bytes that a value may have. Sled 0.34 moves larger ones, from twice this size on, to files of their own that
/// it never frees.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 10;

const VERSION_BYTES: usize = 12;

/// How many bytes an entity takes as a value.
pub(crate) fn value_length(entity: &Entity) -> Result<usize, serde_json::Error> {
    let mut counter = Counter(VERSION_BYTES);
    serde_json::to_writer(&mut counter, entity)?;
    Ok(counter.0)
}

pub(super) fn encode_value(stored: &Stored) -> Result<Vec<u8>, IndexError> {
    let mut value = encode_position(stored.version);
    serde_json::to_writer(&mut value, stored.entity.as_ref())?;
    Ok(value)
}

pub(super) fn decode_value(bytes: &[u8]) -> Result<Stored, IndexError> {
    let (version, json) = bytes.split_at_checked(VERSION_BYTES).ok_or(IndexError::Value)?;
    let version = decode_position(version).ok_or(IndexError::Value)?;
    let entity: Entity = serde_json::from_slice(json)?;
    Ok(Stored { entity: Arc::new(entity), version })
}

pub(super) fn encode_position(position: Position) -> Vec<u8> {
    let mut bytes = position.frame.to_be_bytes().to_vec();
    bytes.extend_from_slice(&position.record.to_be_bytes());
    bytes
}

fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (frame, record) = bytes.split_first_chunk::<8>()?;
    let record: [u8; 4] = record.try_into().ok()?;
    Some(Position { frame: u64::from_be_bytes(*frame), record: u32::from_be_bytes(record) })
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
