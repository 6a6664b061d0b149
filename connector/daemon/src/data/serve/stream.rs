//! The body of a data answer: reads ahead by one group, and ends when its permit does.

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::permit::EndReason;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{Ended, Finished, Outcome};
use crate::data::meter::Metered;
use crate::net::{BodyFailure, Pace};
use crate::objects::{GROUP_SIZE, ReadError, Reader};

/// Bytes given to the HTTP layer at once. Smaller than a group, so that little is on its way when a permit ends and a
/// slow partner is judged by what it took.
const PIECE: usize = 64 * 1024;

/// What a stream reads from and reports to.
pub(super) struct Source {
    pub(super) reader: Reader,
    pub(super) range: Range<u64>,
    pub(super) metered: Metered,
    pub(super) finished: Box<dyn FnOnce(Finished) + Send>,
}

/// How long bytes may flow: what is left of a permit.
pub(super) struct Leash {
    /// Decide again then.
    pub(super) until: Option<Instant>,
    /// Completes when the ground falls away before.
    pub(super) ending: BoxFuture<'static, EndReason>,
}

/// Decides again.
pub(super) type Renewal = Box<dyn FnMut() -> BoxFuture<'static, Result<Leash, EndReason>> + Send>;

/// The body.
pub(super) struct Stream {
    source: Source,
    /// What of the range was not given away yet.
    left: Range<u64>,
    /// The rest of the group that is being given away.
    group: Bytes,
    ahead: Option<AbortOnDropHandle<Result<Bytes, ReadError>>>,
    pace: Pace,
    state: Arc<State>,
}

/// What the body and its watch know of each other.
#[derive(Default)]
struct State(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// No byte is given away from then on, until a new decision moves it.
    until: Option<Instant>,
    /// The partner must have taken the last piece by then; none while we read from the disk.
    deadline: Option<Instant>,
    /// Set once, when the watch or a read ended the stream.
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Stream {
    /// A body and the watch that ends it. The watch must be polled beside the body: nobody polls a body while a write
    /// of it is pending.
    pub(super) fn new(source: Source, leash: Leash, renewal: Renewal, pace: Pace) -> (Self, Ended) {
        let state = Arc::new(State::default());
        {
            let mut inner = state.lock();
            inner.until = leash.until;
            inner.deadline = Some(Instant::now() + pace.grace);
        }
        let left = source.range.clone();
        let mut stream = Self {
            source,
            left,
            group: Bytes::new(),
            ahead: None,
            pace,
            state: Arc::clone(&state),
        };
        stream.read_ahead(stream.left.start);
        (stream, watch(state, leash, renewal, pace).boxed())
    }

    /// Begins to read the group that holds an offset, where it is still wanted.
    fn read_ahead(&mut self, offset: u64) {
        if offset < self.left.end {
            let read = self.source.reader.begin_group(offset / GROUP_SIZE as u64);
            self.ahead = Some(AbortOnDropHandle::new(read));
        }
    }

    /// Takes the group that was read ahead, cuts it to the range and begins with the next.
    fn poll_group(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let Some(ahead) = &mut self.ahead else { return Poll::Ready(Ok(())) };
        let Poll::Ready(read) = ahead.poll_unpin(context) else { return Poll::Pending };
        self.ahead = None;
        let mut group = read.unwrap_or_else(|_| Err(self.source.reader.interrupted()))?;
        let begin = self.left.start - self.left.start % GROUP_SIZE as u64;
        let skip = usize::try_from(self.left.start - begin).unwrap_or(usize::MAX);
        let wanted = usize::try_from(self.left.end - begin).unwrap_or(usize::MAX);
        group.truncate(wanted);
        self.group = group.split_off(skip.min(group.len()));
        self.read_ahead(begin.saturating_add(GROUP_SIZE as u64));
        Poll::Ready(Ok(()))
    }

    fn give(&mut self) -> Frame<Bytes> {
        let piece = self.group.split_to(self.group.len().min(PIECE));
        let length = piece.len() as u64;
        self.left.start += length;
        self.source.metered.add(length);
        let earned = Duration::from_secs(length.div_ceil(self.pace.minimum_bytes_per_second.get()));
        self.state.lock().deadline = Some(Instant::now() + self.pace.grace + earned);
        Frame::data(piece)
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        if self.state.lock().is_held(context.waker()) {
            return match self.state.lock().outcome {
                Some(_) => Poll::Ready(Some(Err(BodyFailure::Cut))),
                None => Poll::Pending,
            };
        }
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.group.is_empty() {
            match self.poll_group(context) {
                // The disk is slow, not the partner.
                Poll::Pending => {
                    self.state.lock().deadline = None;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.state.end(Outcome::Unreadable(error.clone()));
                    return Poll::Ready(Some(Err(BodyFailure::Source(Box::new(error)))));
                }
            }
        }
        if self.group.is_empty() {
            return Poll::Ready(Some(Err(BodyFailure::Source("the node is stopping".into()))));
        }
        Poll::Ready(Some(Ok(self.give())))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let whole = if self.left.is_empty() { Outcome::Complete } else { Outcome::Left };
        let outcome = self.state.lock().outcome.take().unwrap_or(whole);
        let bytes = self.left.start - self.source.range.start;
        let finished = std::mem::replace(&mut self.source.finished, Box::new(|_| {}));
        finished(Finished { bytes, outcome });
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, outcome: Outcome) {
        let mut inner = self.lock();
        inner.outcome.get_or_insert(outcome);
        inner.wake();
    }

    fn renew(&self, until: Option<Instant>) {
        let mut inner = self.lock();
        inner.until = until;
        inner.wake();
    }
}

impl Inner {
    /// Whether no byte may be given away now; then the waker is called when that changes.
    fn is_held(&mut self, waker: &Waker) -> bool {
        let held =
            self.outcome.is_some() || self.until.is_some_and(|until| Instant::now() >= until);
        if held {
            // What is held back by us is not the partner's slowness.
            self.deadline = None;
            self.waker = Some(waker.clone());
        }
        held
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Completes when the stream must end, with the reason in its state.
async fn watch(state: Arc<State>, leash: Leash, mut renewal: Renewal, pace: Pace) {
    let Leash { mut until, mut ending } = leash;
    let outcome = loop {
        tokio::select! {
            reason = &mut ending => break Outcome::Cut(reason),
            () = taken_too_slowly(&state, pace.grace) => break Outcome::TooSlow,
            () = reached(until) => {}
        }
        // The old ending still counts while the new decision is made.
        let renewed = tokio::select! {
            reason = &mut ending => Err(reason),
            renewed = renewal() => renewed,
        };
        match renewed {
            Ok(leash) => {
                Leash { until, ending } = leash;
                state.renew(until);
            }
            Err(reason) => break Outcome::Cut(reason),
        }
    };
    state.end(outcome);
}

async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Completes when the partner has not taken a piece in its time. A deadline is always at least `grace` away when it is
/// set, so looking for a new one that often misses none.
async fn taken_too_slowly(state: &State, grace: Duration) {
    loop {
        let deadline = state.lock().deadline;
        match deadline {
            Some(deadline) if Instant::now() >= deadline => return,
            Some(deadline) => sleep_until(deadline).await,
            None => sleep(grace).await,
        }
    }
}
