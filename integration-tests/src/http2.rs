//! HTTP/2 (RFC 9113) frame by frame over one mutual TLS connection, with nothing that keeps to its rules.

use std::net::SocketAddr;

use anyhow::Result;

use crate::authority::Credential;
use crate::line::Line;

/// The types of frames that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "RFC 9113, section 6")]
pub enum Kind {
    Data = 0,
    Headers = 1,
    ResetStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// The last frame of a message.
pub const END_STREAM: u8 = 1;
/// The last frame of its header block.
pub const END_HEADERS: u8 = 4;
/// The largest payload that a node takes unless it says otherwise.
pub const FRAME_BYTES: usize = 16 * 1024;

/// A connection that has sent its preface.
#[derive(Debug)]
pub struct Frames(Line);

impl Frames {
    /// Dials a node and begins with these settings, as identifiers and values.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn open(credential: &Credential, to: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let mut line = Line::open_for(credential, to, b"h2")?;
        let payload = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect::<Vec<_>>();
        let settings = frame(Kind::Settings, 0, 0, &payload);
        line.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat())?;
        Ok(Self(line))
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// When the node has closed the connection.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write(bytes)
    }

    /// Everything that the node still says until it closes the connection.
    ///
    /// # Errors
    /// When it does not close.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>> {
        self.0.read_to_close()
    }
}

/// A frame.
pub fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length.iter().skip(1).copied().collect::<Vec<_>>();
    bytes.extend([kind as u8, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block in which nothing is compressed (RFC 7541, section 6.2.2). Names and values have less than 127 bytes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap_or(126).min(126));
            bytes.extend(text.bytes().take(126));
        }
    }
    bytes
}

/// The fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":path", path), (":authority", "b")]
}
