//! A partner's server in bad hands: it has the partner's certificate and answers each request with bytes of the test's choice.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Credential;
use crate::peer::Peer;
use crate::wait::PATIENCE;

/// How long a read or write may keep a thread from seeing that all is over.
const LOOK: Duration = Duration::from_millis(50);
/// The largest request that is taken.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The fields.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What is answered: these bytes, and then what follows them.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The first bytes, head and all.
    pub bytes: Vec<u8>,
    /// What comes after them.
    pub then: Then,
}

/// What comes after the first bytes.
#[derive(Debug, Clone)]
pub enum Then {
    /// The end.
    Close,
    /// Nothing, for ever.
    Silence,
    /// These again and again, for ever.
    Endless(Vec<u8>),
    /// These again and again, each time after a pause.
    Drip(Vec<u8>),
}

impl Answer {
    /// These bytes and no more.
    pub fn closing(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::Close }
    }

    /// These bytes and then something.
    pub fn going_on(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { bytes: bytes.into(), then }
    }

    /// An honest answer with a body.
    pub fn honest(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} Answer\r\n").into_bytes();
        for (name, value) in fields {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(
            format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes(),
        );
        bytes.extend_from_slice(body);
        Self::closing(bytes)
    }

    /// What an honest node answers to the same request.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn of(node: &Peer, asked: &Asked) -> Result<Self> {
        let own = ["host", "content-length", "connection", "transfer-encoding"];
        let fields = asked
            .fields
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect::<Vec<_>>();
        let method = asked.method.parse::<Method>()?;
        let reply = node.send(method, &asked.path, &fields, Bytes::from(asked.body.clone()))?;
        let fields = reply
            .headers
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect::<Vec<_>>();
        Ok(Self::honest(reply.status, &fields, &reply.body))
    }
}

/// The server. It ends when dropped.
pub struct Villain {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

type Answering = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

struct Shared {
    config: Arc<ServerConfig>,
    answering: Mutex<Answering>,
    over: AtomicBool,
    requests: AtomicU64,
    written: AtomicU64,
}

impl Villain {
    /// Serves at an address under a certificate.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn serve(
        address: SocketAddr,
        credential: &Credential,
        answering: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(certs::tls::provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(credential.chain.clone(), credential.key.clone_key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            config: Arc::new(config),
            answering: Mutex::new(Arc::new(answering)),
            over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { shared, accepting: Some(accepting) })
    }

    /// Answers further requests otherwise.
    pub fn answer(&self, answering: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        *self.shared.answering.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answering);
    }

    /// How many requests came so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many bytes of answers were taken from us so far, those in the kernel's buffers included.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }
}

impl Drop for Villain {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl fmt::Debug for Villain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Villain")
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((socket, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    // The other side may leave at any moment.
                    let _ = converse(socket, &shared);
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// One request and its answer.
fn converse(socket: TcpStream, shared: &Shared) -> Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let session = ServerConnection::new(Arc::clone(&shared.config))?;
    let mut stream = StreamOwned::new(session, socket);
    let asked = read(&mut stream)?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let answering = Arc::clone(&shared.answering.lock().unwrap_or_else(PoisonError::into_inner));
    let answer = answering(&asked);
    let mut write = |bytes: &[u8]| -> Result<()> {
        stream.write_all(bytes)?;
        stream.flush()?;
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        shared.written.fetch_add(count, Ordering::Relaxed);
        Ok(())
    };
    write(&answer.bytes)?;
    while !shared.over.load(Ordering::Relaxed) {
        match &answer.then {
            Then::Close => break,
            Then::Silence => thread::sleep(LOOK),
            Then::Endless(bytes) => write(bytes)?,
            Then::Drip(bytes) => {
                thread::sleep(LOOK);
                write(bytes)?;
            }
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Result<Asked> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let mut more = |bytes: &mut Vec<u8>| -> Result<()> {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0 && bytes.len() < MAX_BYTES, "no whole request");
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(())
    };
    let head = loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            break at;
        }
        more(&mut bytes)?;
    };
    let text = String::from_utf8_lossy(bytes.get(..head).unwrap_or_default()).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next().context("an empty request")?.split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect::<Vec<_>>();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse::<usize>().ok()).unwrap_or(0);
    let start = head + END.len();
    while bytes.len() < start + length {
        more(&mut bytes)?;
    }
    Ok(Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        fields,
        body: bytes.get(start..start + length).unwrap_or_default().to_vec(),
    })
}
