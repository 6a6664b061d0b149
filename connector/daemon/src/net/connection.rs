//! One partner's connection: who is at the other end, and how to end it from outside.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use certs::trust::{Checked, SharedTrust, TrustError};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use jiff::Timestamp;
use rustls::NamedGroup;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::body::{Body, BodyFailure};

/// How long a cut HTTP/2 stream may take to go before its connection goes with it.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// The version of HTTP that a connection speaks, fixed by ALPN in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// One exchange after the other (RFC 9112).
    Http1,
    /// Streams (RFC 9113).
    Http2,
}

/// Ends a connection from outside: its socket is reset, so bytes that the kernel has not sent yet are
/// dropped as well. Clones end the same connection.
#[derive(Clone, Debug, Default)]
pub struct Kill(CancellationToken);

impl Kill {
    /// Ends the connection now.
    pub fn kill(&self) {
        self.0.cancel();
    }

    /// Whether somebody ended it.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when somebody ends it.
    pub async fn killed(&self) {
        self.0.cancelled().await;
    }
}

/// A completed handshake on the partner listener (`design.md`, Identity).
#[derive(Debug)]
pub struct Connection {
    remote: SocketAddr,
    local: SocketAddr,
    version: HttpVersion,
    group: Option<NamedGroup>,
    chain: Vec<CertificateDer<'static>>,
    /// The answer that trust gave last.
    checked: Mutex<Checked>,
    kill: Kill,
    close: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        (remote, local): (SocketAddr, SocketAddr),
        version: HttpVersion,
        group: Option<NamedGroup>,
        chain: Vec<CertificateDer<'static>>,
        checked: Checked,
        kill: Kill,
    ) -> Self {
        Self {
            remote,
            local,
            version,
            group,
            chain,
            checked: Mutex::new(checked),
            kill,
            close: CancellationToken::new(),
        }
    }

    /// What trust last said of the certificate: participant, leaf digest, and until when it holds.
    #[must_use]
    pub fn checked(&self) -> Checked {
        self.lock().clone()
    }

    /// The one registered partner that the leaf stands for.
    #[must_use]
    pub fn participant(&self) -> Arc<str> {
        Arc::clone(&self.lock().participant)
    }

    /// The other end of the TCP connection.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Our end of it.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// The key exchange group, for evidence; X25519MLKEM768 between two of our nodes.
    #[must_use]
    pub fn group(&self) -> Option<NamedGroup> {
        self.group
    }

    /// The handle that ends this connection.
    #[must_use]
    pub fn kill(&self) -> Kill {
        self.kill.clone()
    }

    /// Lets what runs on this connection finish and takes no further request.
    pub fn close(&self) {
        self.close.cancel();
    }

    pub(super) fn close_token(&self) -> &CancellationToken {
        &self.close
    }

    /// A body that breaks off as soon as `ended` completes, even while the peer takes nothing of it.
    ///
    /// On HTTP/1.1 the connection is reset with it. On HTTP/2 the stream is reset; hyper does not poll the
    /// body while the stream's window is closed, so a stream that has not gone after 500 ms takes the
    /// connection with it (`design.md`, Permits).
    #[must_use]
    pub fn cut_when<E>(&self, body: Body, ended: E) -> Body
    where
        E: Future<Output = ()> + Send + 'static,
    {
        let cut = CancellationToken::new();
        let gone = CancellationToken::new();
        let stream = CutBody {
            body,
            signal: Box::pin(cut.clone().cancelled_owned()),
            _gone: gone.clone().drop_guard(),
        };
        let (kill, version) = (self.kill.clone(), self.version);
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => return,
                () = ended => cut.cancel(),
            }
            let left = version == HttpVersion::Http2
                && tokio::time::timeout(CUT_GRACE, gone.cancelled()).await.is_ok();
            if !left {
                kill.kill();
            }
        });
        stream.boxed_unsync()
    }

    /// Asks trust again when its partners changed or its last answer has run out.
    ///
    /// # Errors
    /// Why the certificate is no longer accepted, or that it now stands for another partner.
    pub fn judge(&self, trust: &SharedTrust, now: Timestamp) -> Result<(), TrustError> {
        let mut checked = self.lock();
        let store = trust.load();
        if checked.generation == store.generation() && now <= checked.valid_until {
            return Ok(());
        }
        let again = store.check_client(&self.chain, now)?;
        if again.participant != checked.participant {
            // What this connection did so far was another partner's; it does not change hands.
            return Err(TrustError::OtherPartner {
                expected: checked.participant.to_string(),
                found: again.participant.to_string(),
            });
        }
        *checked = again;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Checked> {
        // The only write replaces the whole answer.
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Connection::cut_when`].
struct CutBody {
    body: Body,
    signal: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Tells the watching task that hyper dropped the body.
    _gone: DropGuard,
}

impl HttpBody for CutBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        if self.signal.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(BodyFailure::Cut)));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
