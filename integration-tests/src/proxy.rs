//! A bad line: a TCP proxy whose faults can be changed while it runs.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt;

/// How long a read or a pause may keep a thread from seeing that the proxy ended.
const LOOK: Duration = Duration::from_millis(20);
const CHUNK: usize = 64 * 1024;

/// What the line does to the bytes of each connection, in both directions unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each chunk is this late.
    pub latency: Duration,
    /// At most so many bytes in a second.
    pub bytes_per_second: Option<u64>,
    /// The connection is reset once so many bytes came from the node behind the proxy.
    pub reset_after: Option<u64>,
    /// New connections are reset at once.
    pub refuse: bool,
    /// Connections stay open and nothing passes.
    pub blackhole: bool,
}

/// The proxy. It ends with everything that passes through it when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: Mutex<SocketAddr>,
    faults: Mutex<Faults>,
    over: AtomicBool,
    connections: AtomicUsize,
    passed: AtomicU64,
}

impl Proxy {
    /// A proxy on a free port, for now without a node behind it.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to: Mutex::new(address),
            faults: Mutex::default(),
            over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            passed: AtomicU64::new(0),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a node behind it.
    pub fn lead_to(&self, node: SocketAddr) {
        *self.shared.to.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// Changes what the line does, for open connections too.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// How many connections were made through it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many bytes came from the node behind it.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_over() {
        match listener.accept() {
            Ok((stream, _)) => {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    let _ = connect(stream, &shared);
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn connect(near: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    if shared.faults().refuse {
        return reset(&near);
    }
    let to = *shared.to.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(far) = TcpStream::connect_timeout(&to, Duration::from_secs(2)) else {
        return reset(&near);
    };
    for stream in [&near, &far] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
    }
    let (back, from) = (near.try_clone()?, far.try_clone()?);
    let towards = thread::spawn({
        let shared = Arc::clone(shared);
        move || pass(&near, &far, &shared, false)
    });
    let result = pass(&from, &back, shared, true);
    let _ = towards.join();
    result
}

/// Copies one direction until it ends; an end is passed on, a fault resets both.
fn pass(from: &TcpStream, to: &TcpStream, shared: &Shared, counted: bool) -> io::Result<()> {
    let (mut reader, mut writer) = (from, to);
    let mut buffer = vec![0; CHUNK];
    let mut passed = 0_u64;
    loop {
        let faults = shared.faults();
        if shared.is_over() {
            reset(from)?;
            return reset(to);
        }
        if faults.blackhole {
            thread::sleep(LOOK);
            continue;
        }
        let count = match reader.read(&mut buffer) {
            Ok(0) => return to.shutdown(Shutdown::Write),
            Ok(count) => count,
            Err(error) if is_pause(&error) => continue,
            Err(_) => return reset(to),
        };
        thread::sleep(faults.latency);
        if let Some(rate) = faults.bytes_per_second {
            let nanoseconds =
                u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(1_000_000_000);
            thread::sleep(Duration::from_nanos(nanoseconds / rate.max(1)));
        }
        let part = buffer.get(..count).unwrap_or_default();
        if writer.write_all(part).is_err() {
            return reset(from);
        }
        if !counted {
            continue;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        shared.passed.fetch_add(count, Ordering::Relaxed);
        passed = passed.saturating_add(count);
        if faults.reset_after.is_some_and(|limit| passed >= limit) {
            reset(from)?;
            return reset(to);
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Closes at once and tells the other side by RST.
fn reset(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    // Clones of the stream are open elsewhere: this makes them end now.
    stream.shutdown(Shutdown::Both)
}
