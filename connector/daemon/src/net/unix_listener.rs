//! The management listener: HTTP/1.1 on a Unix socket of this host (`design.md`, Listeners).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener as Socket, UnixSocket, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{HttpVersion, Kill};
use super::listener::{ACCEPT_PAUSE, Handler, HttpLimits, ListenError, is_of_one_connection};
use super::serve::{Activity, Terms, Wire, serve};
use super::shutdown::Shutdown;

/// Limits of the management listener.
#[derive(Clone, Copy, Debug)]
pub struct UnixLimits {
    /// Limits of each connection.
    pub http: HttpLimits,
    /// Connections at once; further ones wait.
    pub max_connections: usize,
    /// Permission bits of the socket: who may be an administrator of this node.
    pub mode: u32,
}

impl Default for UnixLimits {
    fn default() -> Self {
        Self { http: HttpLimits::default(), max_connections: 64, mode: 0o600 }
    }
}

/// The process at the other end, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process id, where the system tells.
    pub pid: Option<i32>,
}

/// The bound management socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixListener {
    socket: Socket,
    file: SocketFile,
    limits: UnixLimits,
}

impl UnixListener {
    /// Listens at a path. A socket that nobody answers at is what a process before left behind, and is
    /// removed. The caller holds the site's lock, so no two of our processes do this at once.
    ///
    /// # Errors
    /// When the path is too long, somebody answers there, or something else is in the way.
    pub async fn bind(path: &Path, limits: UnixLimits) -> Result<Self, ListenError> {
        let length = path.as_os_str().as_bytes().len();
        if length > LONGEST_PATH {
            let path = path.to_owned();
            return Err(ListenError::PathTooLong { path, length, limit: LONGEST_PATH });
        }
        remove_stale(path).await?;
        let failed = |source| ListenError::Socket { path: path.to_owned(), source };
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let file = SocketFile::of(path).map_err(failed)?;
        // Nobody can connect before `listen`, so the mode is set in time.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(limits.mode))
            .map_err(failed)?;
        let socket = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { socket, file, limits })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Serves until `shutdown` drains, and returns when the last connection has ended.
    pub async fn serve<H: Handler<LocalPeer>>(self, handler: Arc<H>, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(self.limits.max_connections));
        let tasks = TaskTracker::new();
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, accept(&self.socket).await)
            };
            let (place, stream) = tokio::select! {
                biased;
                () = shutdown.draining() => break,
                accepted = accepted => accepted,
            };
            let handler = Arc::clone(&handler);
            let (shutdown, limits) = (shutdown.clone(), self.limits.http);
            tasks.spawn(async move {
                let _place = place;
                connection(stream, handler, limits, &shutdown).await;
            });
        }
        // Who asks now finds no socket, instead of one where nobody answers.
        drop(self);
        tasks.close();
        tasks.wait().await;
    }
}

async fn connection<H: Handler<LocalPeer>>(
    stream: UnixStream,
    handler: Arc<H>,
    limits: HttpLimits,
    shutdown: &Shutdown,
) {
    let peer = match stream.peer_cred() {
        Ok(peer) => LocalPeer { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() },
        Err(error) => return tracing::warn!(%error, "management.peer_unknown"),
    };
    let (kill, close, activity) = (Kill::default(), CancellationToken::new(), Activity::new());
    let wire = Wire::new(stream, &activity, &kill);
    let terms = Terms { limits, activity, shutdown, drains: true, kill: &kill, close: &close };
    serve(wire, HttpVersion::Http1, Arc::new(peer), handler, terms).await;
}

/// The socket's file, as long as it is ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own in our place.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "management.socket_left_behind");
        }
    }
}

/// What `sockaddr_un` takes on Linux, without its final zero byte.
const LONGEST_PATH: usize = 107;

/// How many connections wait for a place; further ones are refused by the kernel.
const BACKLOG: u32 = 1024;

/// How long somebody who may still listen has to take our connection.
const ANSWER_TIME: Duration = Duration::from_secs(2);

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NotASocket { path: path.to_owned() }),
    }
    match tokio::time::timeout(ANSWER_TIME, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        // Gone in the meantime.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(source)) => Err(failed(source)),
        // A full queue means that somebody owns it.
        Ok(Ok(_)) | Err(_) => Err(ListenError::InUse { path: path.to_owned() }),
    }
}

async fn accept(socket: &Socket) -> UnixStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "listener.accept_failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
