//! How many bytes of requests that are not answered yet are held for a partner, heads and messages: each is small, but whoever
//! sends a thousand of them at once, and never the end of any, must not take the memory. HTTP/2 alone allows 64 requests with
//! heads of 32 KiB on each of 64 connections.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use protocol::id::ParticipantId;

type Held = Arc<Mutex<HashMap<ParticipantId, usize>>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes that are held, for each partner.
#[derive(Debug, Clone)]
pub struct Unread {
    held: Held,
    most_per_partner: usize,
}

/// A partner has as many bytes of unanswered requests here as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "your requests that are not answered yet have more than {most} bytes together; finish them first"
)]
pub struct TooMuch {
    /// How many it may have.
    pub most: usize,
}

/// A body whose bytes are held for a partner until it is dropped.
#[derive(Debug)]
pub(super) struct Measured<B> {
    body: B,
    held: Held,
    participant: ParticipantId,
    bytes: usize,
    most: usize,
}

impl Unread {
    /// So many bytes of each partner.
    pub fn new(most_per_partner: usize) -> Self {
        Self { held: Arc::default(), most_per_partner }
    }

    /// Holds the head of a request until what this gives is dropped.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub(super) fn hold_head(
        &self,
        participant: &ParticipantId,
        bytes: usize,
    ) -> Result<impl Sized + use<>, TooMuch> {
        let mut head = self.measure(participant, ());
        head.hold(bytes).map(|()| head)
    }

    /// Counts what comes of a body.
    pub(super) fn measure<B>(&self, participant: &ParticipantId, body: B) -> Measured<B> {
        Measured {
            body,
            held: Arc::clone(&self.held),
            participant: participant.clone(),
            bytes: 0,
            most: self.most_per_partner,
        }
    }
}

impl<B> Measured<B> {
    fn hold(&mut self, length: usize) -> Result<(), TooMuch> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_partner = held.entry(self.participant.clone()).or_default();
        let all = of_partner.saturating_add(length);
        if all > self.most {
            return Err(TooMuch { most: self.most });
        }
        *of_partner = all;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }
}

impl<B> Drop for Measured<B> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_partner) = held.get_mut(&self.participant) {
            *of_partner = of_partner.saturating_sub(self.bytes);
            if *of_partner == 0 {
                held.remove(&self.participant);
            }
        }
    }
}

impl<B> HttpBody for Measured<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                Some(self.hold(length).map(|()| frame).map_err(Into::into))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn bytes_are_held_for_each_partner_and_given_back() {
        let (one, two): (ParticipantId, ParticipantId) =
            ("urn:one".parse().unwrap(), "urn:two".parse().unwrap());
        let unread = Unread::new(10);
        let body = |count: usize| Full::new(Bytes::from(vec![b'x'; count]));
        let mut first = unread.measure(&one, body(6));
        first.frame().await.unwrap().unwrap();
        let refused = unread.measure(&one, body(5)).frame().await.unwrap().unwrap_err();
        assert_eq!(refused.downcast_ref::<TooMuch>(), Some(&TooMuch { most: 10 }));
        unread.measure(&two, body(10)).frame().await.unwrap().unwrap();
        assert!(unread.hold_head(&one, 5).is_err());
        let head = unread.hold_head(&one, 4).unwrap();
        drop((first, head));
        unread.measure(&one, body(10)).frame().await.unwrap().unwrap();
        assert!(unread.held.lock().unwrap().is_empty());
    }
}
