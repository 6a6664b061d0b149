//! One mutual TLS connection to a node as plain bytes: for what is no HTTP, comes slowly, or comes a second time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::authority::Credential;
use crate::peer;
use crate::wait::PATIENCE;

/// A connection, with the HTTP that was negotiated in the handshake and nothing that enforces it.
#[derive(Debug)]
pub struct Line(StreamOwned<ClientConnection, Recorder>);

/// A socket that keeps what was sent.
#[derive(Debug)]
struct Recorder {
    socket: TcpStream,
    sent: Vec<u8>,
}

impl Line {
    /// Dials a node and shakes hands.
    ///
    /// # Errors
    /// When the handshake fails as the dialling side sees it.
    pub fn open(credential: &Credential, to: SocketAddr) -> Result<Self> {
        Self::open_for(credential, to, b"http/1.1")
    }

    /// The same for another protocol.
    pub(crate) fn open_for(
        credential: &Credential,
        to: SocketAddr,
        protocol: &[u8],
    ) -> Result<Self> {
        let config = peer::client_config(Some(credential), protocol)?;
        let name = ServerName::IpAddress(to.ip().into());
        let mut session = ClientConnection::new(Arc::new(config), name)?;
        let mut recorder = Recorder { socket: dial(to)?, sent: Vec::new() };
        while session.is_handshaking() {
            session.complete_io(&mut recorder)?;
        }
        Ok(Self(StreamOwned::new(session, recorder)))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the node has closed the connection.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// What the node says next; empty where it closed.
    ///
    /// # Errors
    /// When it says nothing, or the connection broke.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let count = self.0.read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Everything that the node still says until it closes the connection; it fails when the node stays silent without closing.
    ///
    /// # Errors
    /// When the node neither says anything more nor closes.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>> {
        read_to_close(&mut self.0)
    }

    /// What was sent so far as it went over the wire, encrypted.
    pub fn recorded(&self) -> &[u8] {
        &self.0.sock.sent
    }
}

/// Sends bytes to a node without any TLS of our own; what it answers until it closes.
///
/// # Errors
/// When it cannot be dialled, or neither says anything more nor closes.
pub fn replay(bytes: &[u8], to: SocketAddr) -> Result<Vec<u8>> {
    let mut socket = dial(to)?;
    // The node may have closed before it took everything.
    let _ = socket.write_all(bytes);
    read_to_close(&mut socket)
}

fn dial(to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&to, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn read_to_close(stream: &mut impl Read) -> Result<Vec<u8>> {
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(said),
            Ok(count) => said.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                anyhow::bail!("the node kept the connection open for {PATIENCE:?}");
            }
            // A reset, or an end without TLS's goodbye, is an end.
            Err(_) => return Ok(said),
        }
    }
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.socket.write(bytes)?;
        self.sent.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
