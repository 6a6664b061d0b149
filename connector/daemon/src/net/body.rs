//! Bodies: the one type that replies carry, and the one place that reads a body.

use std::error::Error as StdError;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use tokio::time::{Instant, timeout_at};

/// The body of every reply that a listener of ours sends.
pub type Body = UnsyncBoxBody<Bytes, BodyFailure>;

/// Why a reply's body ended before it was whole. The peer sees only that it ended.
#[derive(Debug, thiserror::Error)]
pub enum BodyFailure {
    /// The ground for sending it fell away (`design.md`, Permits).
    #[error("the stream was cut: its permit has ended")]
    Cut,
    /// What it was read from failed.
    #[error("the source of the body failed")]
    Source(#[source] Box<dyn StdError + Send + Sync>),
}

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Pieces(bytes.into()).boxed_unsync()
}

/// What of known bytes is given at once. hyper takes a piece whole as soon as the peer takes one byte, and lets go of a body
/// that it has taken: were a long reply one piece, nothing would see that nobody takes the rest.
const PIECE_BYTES: usize = 32 * 1024;

/// See [`full`].
struct Pieces(Bytes);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let length = self.0.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.0.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that keeps something until it is sent whole or given up.
#[must_use]
pub fn keeping<T: Send + Unpin + 'static>(body: Body, kept: T) -> Body {
    Keeping { body, _kept: kept }.boxed_unsync()
}

/// See [`keeping`].
struct Keeping<T> {
    body: Body,
    _kept: T,
}

impl<T: Unpin> HttpBody for Keeping<T> {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How slow a sender may be. Two rules hold at once: no pause is longer than `grace`, and after
/// `grace` the average since the beginning is at least `minimum_bytes_per_second`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Lowest average rate, in bytes per second.
    pub minimum_bytes_per_second: NonZeroU64,
    /// Longest pause, and the time before the average counts.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            minimum_bytes_per_second: NonZeroU64::MIN.saturating_add(1023),
            grace: Duration::from_secs(10),
        }
    }
}

/// Why a body that we receive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the limit, or a declared length over it.
    #[error("the body is longer than the {limit} bytes allowed here; send less at once")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The sender paused too long or was too slow on average.
    #[error(
        "the body came too slowly: {received} bytes in {elapsed:.1?}; check the network and send it again"
    )]
    TooSlow {
        /// Bytes received until then.
        received: u64,
        /// Time since the reading began.
        elapsed: Duration,
    },
    /// Its content encoding is not known, or its bytes are not of it.
    #[error("the body's content encoding `{encoding}` cannot be undone")]
    Encoding {
        /// What is declared, cut.
        encoding: String,
        /// What is wrong with the bytes.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The connection or the framing broke.
    #[error("the body broke off after {received} bytes")]
    Broken {
        /// Bytes received until then.
        received: u64,
        /// What broke.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Reads a body whole, within `max_bytes` and at the given pace.
///
/// # Errors
/// [`BodyError`] when it is too long, too slow or broken; the rest of it is not read.
pub async fn read_body<B>(body: B, max_bytes: usize, pace: Pace) -> Result<Bytes, BodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let too_large = BodyError::TooLarge { limit: max_bytes };
    // A declared length is known before the first byte: refuse without reading.
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large);
    }
    let mut reader = PacedReader::new(body, pace);
    let Some(first) = reader.next().await? else {
        return Ok(Bytes::new());
    };
    if first.len() > max_bytes {
        return Err(too_large);
    }
    // Most messages arrive in one piece, which is then not copied.
    let Some(second) = reader.next().await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if chunk.len() > max_bytes.saturating_sub(whole.len()) {
            return Err(too_large);
        }
        whole.extend_from_slice(&chunk);
        next = reader.next().await?;
    }
    Ok(whole.freeze())
}

/// Takes what is left of a body that is refused, and drops it, within `max_bytes` and `time`: a sender that is still sending
/// when the connection closes may never read why.
pub async fn discard<B>(body: &mut B, max_bytes: usize, time: Duration)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut left = max_bytes;
    let dropped = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(time, dropped).await;
}

/// Reads a body piece by piece and holds its sender to a [`Pace`]. Bounds nothing but time.
#[derive(Debug)]
pub struct PacedReader<B> {
    body: B,
    pace: Pace,
    began: Instant,
    last: Instant,
    received: u64,
}

impl<B> PacedReader<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// A reader whose clock starts now.
    pub fn new(body: B, pace: Pace) -> Self {
        let now = Instant::now();
        Self { body, pace, began: now, last: now, received: 0 }
    }

    /// The next piece that has bytes, or `None` at the end. The time that the caller spends
    /// between two calls is not held against the sender.
    ///
    /// # Errors
    /// [`BodyError::TooSlow`] and [`BodyError::Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let asked = Instant::now();
        self.began += asked.duration_since(self.last);
        self.last = asked;
        loop {
            let Ok(frame) = timeout_at(self.deadline(), self.body.frame()).await else {
                return Err(BodyError::TooSlow {
                    received: self.received,
                    elapsed: self.began.elapsed(),
                });
            };
            let frame = match frame {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(BodyError::Broken {
                        received: self.received,
                        source: source.into(),
                    });
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers mean nothing to us, and an empty piece is no progress.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.last = Instant::now();
                self.received += data.len() as u64;
                return Ok(Some(data));
            }
        }
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    fn deadline(&self) -> Instant {
        let earned = Duration::from_secs(self.received / self.pace.minimum_bytes_per_second);
        let average = later(later(self.began, earned), self.pace.grace);
        average.min(later(self.last, self.pace.grace))
    }
}

/// An instant some time later; a time without end is one that no process lives to see.
pub(super) fn later(instant: Instant, by: Duration) -> Instant {
    instant.checked_add(by).unwrap_or(instant + LONGEST_WAIT)
}

const LONGEST_WAIT: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
