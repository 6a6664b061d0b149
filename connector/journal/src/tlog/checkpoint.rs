//! Checkpoints (C2SP tlog-checkpoint) as signed notes (C2SP signed-note) with Ed25519 keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, Signature, StandardVerifier, VerifierList};

use super::{Hash, shorten};

/// The largest note that is read, in bytes: room for sixteen post-quantum signature lines.
pub const NOTE_BYTES_MAX: usize = 65_536;

/// A tree head: what a log says about itself when it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log and, in Sekisho, of its epoch. A verifier compares it with the one that
    /// it expects: a signature says who signed, not for which log.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root hash of the tree of that size.
    pub root: Hash,
    /// Further lines, without their newline; kept as they are and covered by the signature.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The tree head of a log, without further lines.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// The text that is signed: origin, size, root and extensions, one line each.
    ///
    /// Refused when a line is empty or holds a control character.
    pub fn to_body(&self) -> Result<String, CheckpointError> {
        let lines = std::iter::once(&self.origin).chain(&self.extensions);
        for line in lines {
            if line.is_empty() || line.chars().any(char::is_control) {
                return Err(CheckpointError::Line { line: shorten(line) });
            }
        }
        let mut body = format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64());
        for extension in &self.extensions {
            body.push_str(extension);
            body.push('\n');
        }
        Ok(body)
    }

    /// Reads a text that [`Checkpoint::to_body`] could have written, and no other spelling of it.
    pub fn from_body(body: &str) -> Result<Self, CheckpointError> {
        let parsed = tlog_tiles::Checkpoint::from_bytes(body.as_bytes())
            .map_err(|_| CheckpointError::Malformed { text: shorten(body) })?;
        let checkpoint = Self {
            origin: parsed.origin().to_owned(),
            size: parsed.size(),
            root: Hash(parsed.hash().0),
            extensions: parsed.extension().lines().map(str::to_owned).collect(),
        };
        if checkpoint.to_body()? != body {
            return Err(CheckpointError::Malformed { text: shorten(body) });
        }
        Ok(checkpoint)
    }
}

/// Signs a checkpoint and returns the text of the note, which ends with one signature line.
///
/// `key_name` names the key in that line: not empty, without white space and `+`. `sign` makes the
/// Ed25519 signature of the bytes it is given; it is checked against `public_key` before the note
/// is returned, so no note leaves that its readers would refuse.
pub fn sign_checkpoint<E>(
    checkpoint: &Checkpoint,
    key_name: &str,
    public_key: &[u8; 32],
    sign: impl Fn(&[u8]) -> Result<[u8; 64], E>,
) -> Result<String, SignError<E>> {
    let body = checkpoint.to_body()?;
    let signature = sign(body.as_bytes()).map_err(SignError::Signer)?;
    let line = Signature::new(key_name.to_owned(), key_id(key_name, public_key), signature.into())
        .map_err(|_| SignError::KeyName { key_name: shorten(key_name) })?;
    let note = Note::new(body.as_bytes(), &[line])
        .map_err(|_| SignError::Checkpoint(CheckpointError::Malformed { text: shorten(&body) }))?;
    let text = String::from_utf8_lossy(&note.to_bytes()).into_owned();
    verify_checkpoint(&text, key_name, public_key).map_err(SignError::Unverifiable)?;
    Ok(text)
}

/// Reads a note and returns its checkpoint if the key of that name signed it.
///
/// Signature lines of other keys are passed over, as many as fit into [`NOTE_BYTES_MAX`] up to one
/// hundred. The caller compares [`Checkpoint::origin`] with the log that it expects.
pub fn verify_checkpoint(
    note: &str,
    key_name: &str,
    public_key: &[u8; 32],
) -> Result<Checkpoint, NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Oversized { found: note.len() });
    }
    let verifier = StandardVerifier::new(&verifier_key(key_name, public_key))
        .map_err(|_| NoteError::Key { key_name: shorten(key_name) })?;
    let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
    // A line has one spelling only, or two notes that differ would say the same.
    if parsed.to_bytes() != note.as_bytes() {
        return Err(NoteError::Malformed);
    }
    parsed.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|error| {
        let key_name = shorten(key_name);
        match error {
            signed_note::NoteError::InvalidSignature { .. } => NoteError::Signature { key_name },
            signed_note::NoteError::UnverifiedNote => NoteError::Unsigned { key_name },
            _ => NoteError::Malformed,
        }
    })?;
    let body = std::str::from_utf8(parsed.text()).map_err(|_| NoteError::Malformed)?;
    Ok(Checkpoint::from_body(body)?)
}

/// A checkpoint's text is not in the form that C2SP tlog-checkpoint gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin or a further line cannot be a line.
    #[error("`{line}` cannot be a line of a checkpoint: it is empty or has a control character")]
    Line {
        /// The beginning of the line.
        line: String,
    },
    /// The text is not origin, size and root, in their one spelling.
    #[error("`{text}` is not a checkpoint: origin, size and root are expected, one line each")]
    Malformed {
        /// The beginning of the text.
        text: String,
    },
}

/// A checkpoint cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError<E> {
    /// The checkpoint has no valid text.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The key's name cannot stand in a signature line.
    #[error("`{key_name}` cannot name a key: it is empty or has white space or `+`")]
    KeyName {
        /// The name given.
        key_name: String,
    },
    /// The signer failed.
    #[error("the checkpoint could not be signed")]
    Signer(#[source] E),
    /// The signature is not of the public key, or the note too large for its readers.
    #[error("the note that was signed does not verify with the public key given")]
    Unverifiable(#[source] NoteError),
}

/// A note is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Larger than any note needs to be.
    #[error("the note has {found} bytes; at most {NOTE_BYTES_MAX} are read")]
    Oversized {
        /// Its size in bytes.
        found: usize,
    },
    /// Not a signed note, or not in its one spelling.
    #[error(
        "the text is not a signed note: a body, an empty line and signature lines are expected"
    )]
    Malformed,
    /// The key that should verify is none.
    #[error("the key named `{key_name}` is not a name and an Ed25519 public key")]
    Key {
        /// The key's name.
        key_name: String,
    },
    /// No line is of the key.
    #[error("the note is not signed by the key named `{key_name}`")]
    Unsigned {
        /// The key's name.
        key_name: String,
    },
    /// The key's line is not a signature of the text.
    #[error("the note's signature by the key named `{key_name}` is wrong: the text was changed")]
    Signature {
        /// The key's name.
        key_name: String,
    },
    /// The note is signed, but its text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// The signature type of Ed25519 in a key's encoding (C2SP signed-note).
const ED25519: u8 = 0x01;

fn encoded_key(public_key: &[u8; 32]) -> Vec<u8> {
    std::iter::once(ED25519).chain(*public_key).collect()
}

fn key_id(key_name: &str, public_key: &[u8; 32]) -> u32 {
    signed_note::key_id(key_name, &encoded_key(public_key))
}

/// A verifier key as text: name, key id, key (C2SP signed-note).
fn verifier_key(key_name: &str, public_key: &[u8; 32]) -> String {
    let key = STANDARD.encode(encoded_key(public_key));
    format!("{key_name}+{:08x}+{key}", key_id(key_name, public_key))
}
