//! One frame as bytes: how it is written, and how it is read without trusting it.

use sha2::{Digest, Sha256};

use super::error::{AppendError, Defect, RecordError};
use super::{
    Body, FRAME_BYTES_MAX, Frame, LABEL_BYTES_MAX, LEAF_BYTES_MAX, Mark, Position, Record,
    StoredRecord,
};
use crate::tlog::Hash;

/// Frames begin at multiples of this, so that no sector belongs to two of them.
pub(super) const SECTOR: usize = 512;
/// The length of a header; it lies in one sector.
pub(super) const HEADER: usize = 120;

const MAGIC: [u8; 8] = *b"SEKISHOJ";
const VERSION: u16 = 1;
/// What the frame's hash covers of the header.
const HASHED: usize = 88;
const BODY_AS_WRITTEN: u8 = 1;
const BODY_ERASED: u8 = 2;

/// A frame ready to be written.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) mark: Mark,
}

/// Writes `records` as the frame that follows `before`.
pub(super) fn encode(
    records: &[Record],
    before: &Mark,
    journal_id: &[u8; 16],
) -> Result<Encoded, AppendError> {
    for (index, record) in records.iter().enumerate() {
        check(record).map_err(|reason| AppendError::Record { index, reason })?;
    }
    let (records_length, bodies_length) = lengths(records);
    let length = frame_length(records_length, bodies_length);
    let too_large = AppendError::TooLarge { bytes: length };
    let (Ok(records_field), Ok(bodies_field), Ok(count), Ok(capacity)) = (
        u32::try_from(records_length),
        u32::try_from(bodies_length),
        u32::try_from(records.len()),
        usize::try_from(length),
    ) else {
        return Err(too_large);
    };
    if length > FRAME_BYTES_MAX {
        return Err(too_large);
    }

    let sequence = before.sequence.saturating_add(1);
    let mut header = Vec::with_capacity(HASHED);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_be_bytes());
    header.extend_from_slice(&0_u16.to_be_bytes());
    header.extend_from_slice(&count.to_be_bytes());
    header.extend_from_slice(journal_id);
    header.extend_from_slice(&sequence.to_be_bytes());
    header.extend_from_slice(&before.end.to_be_bytes());
    header.extend_from_slice(&records_field.to_be_bytes());
    header.extend_from_slice(&bodies_field.to_be_bytes());
    header.extend_from_slice(&before.hash.0);

    let mut committed = Vec::with_capacity(records_field as usize);
    records.iter().for_each(|record| encode_record(record, &mut committed));
    let hash = Hash(Sha256::new().chain_update(&header).chain_update(&committed).finalize().into());

    let mut bytes = Vec::with_capacity(capacity);
    bytes.append(&mut header);
    bytes.extend_from_slice(&hash.0);
    bytes.append(&mut committed);
    for body in records.iter().filter_map(|record| record.body.as_ref()) {
        bytes.push(BODY_AS_WRITTEN);
        bytes.extend_from_slice(body);
    }
    bytes.resize(capacity, 0);
    let mark = Mark { last: before.end, end: before.end.saturating_add(length), sequence, hash };
    Ok(Encoded { bytes, mark })
}

/// A header whose own fields make sense; its hash is not checked yet.
#[derive(Debug, Clone)]
pub(super) struct Header {
    count: u32,
    sequence: u64,
    offset: u64,
    records_length: u32,
    bodies_length: u32,
    previous: Hash,
    hash: Hash,
    hashed: [u8; HASHED],
}

impl Header {
    /// Reads the header of the frame that should be at `offset`, from its first bytes.
    pub(super) fn parse(bytes: &[u8], journal_id: &[u8; 16], offset: u64) -> Result<Self, Defect> {
        let mut cursor = Cursor(bytes);
        let fields = |cursor: &mut Cursor<'_>| {
            if cursor.array()? != MAGIC {
                return None;
            }
            let version = u16::from_be_bytes(cursor.array()?);
            let flags = u16::from_be_bytes(cursor.array()?);
            let count = u32::from_be_bytes(cursor.array()?);
            let journal: [u8; 16] = cursor.array()?;
            let header = Self {
                count,
                sequence: u64::from_be_bytes(cursor.array()?),
                offset: u64::from_be_bytes(cursor.array()?),
                records_length: u32::from_be_bytes(cursor.array()?),
                bodies_length: u32::from_be_bytes(cursor.array()?),
                previous: Hash(cursor.array()?),
                hash: Hash(cursor.array()?),
                hashed: *bytes.first_chunk()?,
            };
            Some((version, flags, journal, header))
        };
        let (version, flags, journal, header) = fields(&mut cursor).ok_or(Defect::NoFrame)?;
        // A write that ended in the midst of the header leaves zeros at its end; what is in such a
        // header says nothing. Every version keeps a hash, never zero, in this place.
        if header.hash == Hash([0; 32]) {
            return Err(Defect::NoFrame);
        }
        if version != VERSION {
            return Err(Defect::Version { version });
        }
        if flags != 0 {
            return Err(Defect::Flags { flags });
        }
        if journal != *journal_id {
            return Err(Defect::OtherJournal);
        }
        if header.offset != offset {
            return Err(Defect::OtherPlace { stated: header.offset });
        }
        if header.length() > FRAME_BYTES_MAX {
            return Err(Defect::Length { length: header.length() });
        }
        Ok(header)
    }

    /// The length of the whole frame, with header and padding.
    pub(super) fn length(&self) -> u64 {
        frame_length(u64::from(self.records_length), u64::from(self.bodies_length))
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            last: self.offset,
            end: self.offset.saturating_add(self.length()),
            sequence: self.sequence,
            hash: self.hash,
        }
    }

    /// Whether this is the frame that follows `before`.
    pub(super) fn follows(&self, before: &Mark) -> Result<(), Defect> {
        let expected = before.sequence.saturating_add(1);
        if self.sequence == expected && self.previous == before.hash {
            Ok(())
        } else {
            Err(Defect::Chain { expected, found: self.sequence })
        }
    }

    /// Reads the whole frame from its bytes and checks all of them.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Frame, Defect> {
        let mut cursor = Cursor(bytes);
        let refused = || Defect::Length { length: self.length() };
        cursor.take(HEADER).ok_or_else(refused)?;
        let committed = cursor.take(self.records_length as usize).ok_or_else(refused)?;
        let mut bodies = Cursor(cursor.take(self.bodies_length as usize).ok_or_else(refused)?);
        let padding = cursor.0;

        let hash = Sha256::new().chain_update(self.hashed).chain_update(committed).finalize();
        if self.hash.0 != *hash {
            return Err(Defect::Hash);
        }
        let mut records = Vec::new();
        let mut committed = Cursor(committed);
        for index in 0..self.count {
            let entry = Entry::parse(&mut committed).ok_or(Defect::Record { index })?;
            let body = match entry.body {
                None => Body::Absent,
                Some((length, digest)) => read_body(&mut bodies, index, length, digest)?,
            };
            records.push(StoredRecord {
                position: Position { offset: self.offset, index },
                log: entry.log.to_owned(),
                leaf: entry.leaf.to_vec(),
                effect: entry.effect.to_vec(),
                body,
            });
        }
        if !committed.0.is_empty() || !bodies.0.is_empty() {
            return Err(Defect::Record { index: self.count });
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Defect::Padding);
        }
        Ok(Frame { offset: self.offset, previous: self.previous, mark: self.mark(), records })
    }
}

/// What the records area says of one record.
struct Entry<'a> {
    log: &'a str,
    leaf: &'a [u8],
    effect: &'a [u8],
    body: Option<(u32, Hash)>,
}

impl<'a> Entry<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Option<Self> {
        let label_length = u16::from_be_bytes(cursor.array()?);
        let log = std::str::from_utf8(cursor.take(usize::from(label_length))?).ok()?;
        let leaf = cursor.counted()?;
        let effect = cursor.counted()?;
        let body = match cursor.array()? {
            [0] => None,
            [1] => Some((u32::from_be_bytes(cursor.array()?), Hash(cursor.array()?))),
            _ => return None,
        };
        Some(Self { log, leaf, effect, body })
    }
}

fn read_body(
    bodies: &mut Cursor<'_>,
    index: u32,
    length: u32,
    digest: Hash,
) -> Result<Body, Defect> {
    let [kind] = bodies.array().ok_or(Defect::Record { index })?;
    let bytes = bodies.take(length as usize).ok_or(Defect::Record { index })?;
    match kind {
        BODY_AS_WRITTEN if Hash::of(bytes) == digest => Ok(Body::Present(bytes.to_vec())),
        BODY_ERASED if bytes.iter().all(|byte| *byte == 0) => Ok(Body::Erased { length, digest }),
        // Zero is what a sector holds that was never written.
        0 | BODY_AS_WRITTEN | BODY_ERASED => Err(Defect::Body { index }),
        _ => Err(Defect::BodyKind { index, kind }),
    }
}

fn check(record: &Record) -> Result<(), RecordError> {
    let label = record.log.len();
    if label == 0 || label > LABEL_BYTES_MAX {
        return Err(RecordError::Label { found: label });
    }
    if record.leaf.len() > LEAF_BYTES_MAX {
        return Err(RecordError::Leaf { found: record.leaf.len() });
    }
    Ok(())
}

/// The lengths of the records area and of the bodies area.
fn lengths(records: &[Record]) -> (u64, u64) {
    const FIXED: u64 = 2 + 4 + 4 + 1;
    const BODY_FIXED: u64 = 4 + 32;
    records.iter().fold((0, 0), |(committed, bodies), record| {
        let own = FIXED + (record.log.len() + record.leaf.len() + record.effect.len()) as u64;
        match &record.body {
            None => (committed + own, bodies),
            Some(body) => (committed + own + BODY_FIXED, bodies + 1 + body.len() as u64),
        }
    })
}

fn frame_length(records_length: u64, bodies_length: u64) -> u64 {
    (HEADER as u64 + records_length + bodies_length).next_multiple_of(SECTOR as u64)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "labels and leaves are checked before, and a frame is smaller than 32 bits can say"
)]
fn encode_record(record: &Record, into: &mut Vec<u8>) {
    into.extend_from_slice(&(record.log.len() as u16).to_be_bytes());
    into.extend_from_slice(record.log.as_bytes());
    for part in [&record.leaf, &record.effect] {
        into.extend_from_slice(&(part.len() as u32).to_be_bytes());
        into.extend_from_slice(part);
    }
    match &record.body {
        None => into.push(0),
        Some(body) => {
            into.push(1);
            into.extend_from_slice(&(body.len() as u32).to_be_bytes());
            into.extend_from_slice(&Hash::of(body).0);
        }
    }
}

/// Takes bytes from the front, or nothing when there are too few.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(length as usize)
    }
}
