//! Why the other side ended a TLS connection.
//!
//! In TLS 1.3 the client's handshake is over before the server has looked at the client's certificate.
//! A server that refuses it says so in an alert that comes with the first read, and by then a write may
//! already have failed without saying why.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::guard::Origin;
use super::error::SendError;

/// The alert that ended a connection, once one has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    /// Puts hyper's error together with what TLS has said.
    pub(super) fn explain(&self, origin: &Origin, error: hyper::Error) -> SendError {
        match self.0.get() {
            Some(alert) => SendError::alert(origin, *alert),
            None => SendError::exchange(origin, error),
        }
    }

    fn note(&self, error: &io::Error) -> bool {
        match alert_in(error) {
            Some(alert) => {
                // The first one ended the connection.
                let _ = self.0.set(alert);
                true
            }
            None => false,
        }
    }
}

/// The alert inside an error of tokio-rustls.
pub(super) fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A TLS stream that remembers the alert that ended it.
pub(super) struct AlertWitness<S> {
    stream: S,
    alert: Alert,
}

impl<S> AlertWitness<S> {
    pub(super) fn new(stream: S, alert: Alert) -> Self {
        Self { stream, alert }
    }
}

impl<S: AsyncRead + Unpin> AlertWitness<S> {
    /// After a failed write: the alert that explains it may lie in the receive buffer.
    fn look_for_alert(&mut self, context: &mut Context<'_>, error: &io::Error) {
        if self.alert.note(error) {
            return;
        }
        let mut scratch = [0; 64];
        let mut buffer = ReadBuf::new(&mut scratch);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_read(context, &mut buffer)
        {
            self.alert.note(&error);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AlertWitness<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &polled {
            self.alert.note(error);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AlertWitness<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Err(error)) = &polled {
            self.look_for_alert(context, error);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        if let Poll::Ready(Err(error)) = &polled {
            self.look_for_alert(context, error);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if let Poll::Ready(Err(error)) = &polled {
            self.look_for_alert(context, error);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
