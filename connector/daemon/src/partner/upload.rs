//! The upload endpoint: bytes that a provider pushes to us, and the evidence that comes before them.
//!
//! `HEAD` answers in `Content-Length` how much is here. `PUT` goes on there with `Content-Range` (RFC 9110, 14.4 and 14.5);
//! without one it begins anew. The end, which may come without bytes (`bytes */SIZE`), is answered with 201 when the whole is
//! verified and recorded as received. Evidence is taken with `PUT …/provenance`.

use std::sync::Arc;

use engine::entity::{Agreement, Failure, Transfer};
use engine::push::{Admitted, admit_upload};
use engine::refusal::{Refusal, RefusalKind};
use engine::{Key, Peer, pull};
use headers::{ContentLength, ContentRange, HeaderMapExt as _};
use http::header::CONTENT_RANGE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming as Received;
use protocol::id::Pid;

use super::data::{refuse_as, token_sha256, unauthorized};
use crate::evidence::{self, Verified};
use crate::net::{Body, BodyError, PacedReader};
use crate::node::Node;
use crate::objects::{Incoming, IncomingError, PullName};
use crate::pulls::{self, Progress};
use crate::telemetry::DataDirection;
use crate::wire::{self, Trouble};
use crate::witness::WitnessError;

/// Takes bytes, or says how many are here.
pub(super) async fn bytes(
    node: &Arc<Node>,
    request: Request<Received>,
    peer: &Peer,
    pid: &str,
) -> Response<Body> {
    let Ok(pid) = Pid::new(pid) else { return wire::bare(StatusCode::NOT_FOUND) };
    let Some(token) = token_sha256(&request) else { return unauthorized() };
    let outcome = match *request.method() {
        Method::HEAD => length(node, peer, &pid, &token).await,
        _ => put(node, request, peer, &pid, &token).await,
    };
    told(node, peer, outcome).await
}

/// Takes the evidence of what will be pushed, verifies and keeps it.
pub(super) async fn provenance(
    node: &Arc<Node>,
    request: Request<Received>,
    peer: &Peer,
    pid: &str,
) -> Response<Body> {
    let Ok(pid) = Pid::new(pid) else { return wire::bare(StatusCode::NOT_FOUND) };
    let Some(token) = token_sha256(&request) else { return unauthorized() };
    let outcome = prove(node, request, peer, &pid, &token).await;
    told(node, peer, outcome).await
}

async fn told(
    node: &Arc<Node>,
    peer: &Peer,
    outcome: Result<Response<Body>, Trouble>,
) -> Response<Body> {
    match outcome {
        Ok(response) => response,
        Err(Trouble::Refused(refusal)) => refuse_as(node, peer, refusal, "upload").await,
        Err(Trouble::Store(error)) => {
            tracing::error!(event = "upload.not_stored", error = %error);
            wire::unavailable()
        }
    }
}

/// A pull whose bytes are pushed.
struct Upload {
    pull: String,
    transfer: Transfer,
    agreement: Agreement,
    progress: Arc<Progress>,
}

/// What a request may do: go on, or hear that all is here.
async fn admit(
    node: &Arc<Node>,
    peer: &Peer,
    pid: &Pid,
    token: &str,
) -> Result<Result<Upload, u64>, Trouble> {
    let (fresh, peer, pid, token) = (node.fresh(), peer.clone(), pid.clone(), token.to_owned());
    let admitted = node.decide(move |view| admit_upload(view, &fresh, &peer, &pid, &token)).await?;
    Ok(match admitted {
        Admitted::Received { size } => Err(size),
        Admitted::Open { pull, transfer, agreement } => {
            let progress = pulls::drive(node, &pull);
            Ok(Upload { pull, transfer: *transfer, agreement: *agreement, progress })
        }
    })
}

async fn length(
    node: &Arc<Node>,
    peer: &Peer,
    pid: &Pid,
    token: &str,
) -> Result<Response<Body>, Trouble> {
    let here = match admit(node, peer, pid, token).await? {
        Err(size) => size,
        Ok(upload) => {
            let evidence = expected(node, &upload).await?;
            open(node, &upload, evidence.as_ref()).await?.offset()
        }
    };
    let mut response = wire::bare(StatusCode::OK);
    response.headers_mut().typed_insert(ContentLength(here));
    Ok(response)
}

async fn prove(
    node: &Arc<Node>,
    request: Request<Received>,
    peer: &Peer,
    pid: &Pid,
    token: &str,
) -> Result<Response<Body>, Trouble> {
    let upload = match admit(node, peer, pid, token).await? {
        Err(_) => return Ok(wire::bare(StatusCode::NO_CONTENT)),
        Ok(upload) => upload,
    };
    let bytes =
        super::read(node, peer, request, evidence::BUNDLE_BYTES_MAX).await.map_err(|error| {
            let kind = match error {
                BodyError::TooLarge { .. } => RefusalKind::TooLarge,
                _ => RefusalKind::Unavailable,
            };
            refusal(node, kind, error.to_string())
        })?;
    let verified = match evidence::verify(node, &upload.transfer, &upload.agreement, &bytes) {
        Ok(verified) => verified,
        Err(reason) => return Err(fail(node, &upload, "not-verified", &reason).await),
    };
    match crate::witness::judge(node, &peer.participant, &verified.checkpoint).await {
        Ok(()) => {}
        Err(WitnessError::Store(error)) => return Err(error.into()),
        Err(error @ WitnessError::Send(_)) => {
            let text = "the checkpoint of the evidence cannot be judged now; try again";
            let reference = node.fresh().reference;
            let internal = crate::site::chain(&error);
            return Err(Refusal::new(RefusalKind::Unavailable, text, internal, reference).into());
        }
        Err(error) => return Err(fail(node, &upload, "not-verified", &error.to_string()).await),
    }
    if let Err(error) = evidence::keep(node, &upload.pull, &verified.bundle).await {
        return Err(fail(node, &upload, "not-kept", &error.to_string()).await);
    }
    Ok(wire::bare(StatusCode::NO_CONTENT))
}

async fn put(
    node: &Arc<Node>,
    request: Request<Received>,
    peer: &Peer,
    pid: &Pid,
    token: &str,
) -> Result<Response<Body>, Trouble> {
    // Watched before it is asked, so that no change is missed.
    let mut trust = node.trust_changes();
    let mut partner = node.store.subscribe(Key::Partner(peer.participant.clone()));
    let mut changed = node.store.subscribe(Key::Transfer(pid.clone()));
    let upload = match admit(node, peer, pid, token).await? {
        Err(_) => return Ok(wire::bare(StatusCode::CREATED)),
        Ok(upload) => upload,
    };
    let mut ended = node.store.subscribe(Key::Agreement(upload.agreement.id.clone()));
    let own = node
        .registry()
        .by_participant(&peer.participant)
        .and_then(|partner| partner.limits.max_concurrent_transfers_count);
    let Some(_place) = node.streams.take(&peer.participant, own) else {
        let text = "too many transfers run at once; try again when one has ended";
        return Err(refusal(node, RefusalKind::TooMany, text).into());
    };
    let evidence = expected(node, &upload).await?;
    let (parts, body) = request.into_parts();
    let piece = Piece::read(&parts.headers)
        .map_err(|reason| refusal(node, RefusalKind::Invalid, reason))?;
    let size = evidence.as_ref().map(|evidence| evidence.digests.size);
    if let (Some(size), Some(total)) = (size, piece.total)
        && size != total
    {
        let text = format!("the dataset has {size} bytes, and {total} are announced");
        return Err(refusal(node, RefusalKind::Invalid, text).into());
    }
    let (total, largest) = (size.or(piece.total), node.config.data.max_incoming_bytes);
    if total.is_some_and(|total| total > largest) {
        return Err(too_large(node, &upload).await);
    }
    let mut incoming = open(node, &upload, evidence.as_ref()).await?;
    if !piece.is_part && incoming.offset() > 0 {
        incoming.begin(None).await.map_err(|error| not_written(node, &error))?;
    }
    if piece.from != incoming.offset() {
        return Ok(wire::bare(StatusCode::CONFLICT));
    }
    if let Some(sha256) = crate::data::repr_digest(&parts.headers) {
        incoming.announce(sha256);
    }
    let most = piece.end.or(total).unwrap_or(largest);
    let stopped = tokio::select! {
        taken = take(node, body, &mut incoming, &upload.progress, most, total) => taken,
        // Whatever it rests on changed: who pushes shall come again, and is judged anew.
        _ = changed.changed() => Err(Broken::Changed),
        _ = partner.changed() => Err(Broken::Changed),
        _ = ended.changed() => Err(Broken::Changed),
        _ = trust.changed() => Err(Broken::Changed),
        () = node.shutdown.stopping() => Err(Broken::Changed),
    };
    incoming.flush().await.map_err(|error| not_written(node, &error))?;
    match stopped {
        Ok(()) => {}
        Err(Broken::Changed) => return Ok(wire::unavailable()),
        Err(Broken::Lost(error)) => {
            upload.progress.interrupted(&crate::site::chain(&error));
            return Ok(wire::unavailable());
        }
        Err(Broken::TooMuch) if piece.end.or(total).is_none() => {
            return Err(too_large(node, &upload).await);
        }
        Err(Broken::TooMuch) => {
            let text = format!("more bytes came than the {most} announced");
            return Err(refusal(node, RefusalKind::TooLarge, text).into());
        }
        Err(Broken::Local(error)) => return Err(not_written(node, &error).into()),
    }
    let here = incoming.offset();
    if piece.end.is_some_and(|end| here < end) {
        upload.progress.interrupted("the push ended early");
        return Ok(wire::unavailable());
    }
    if total.is_some_and(|total| here < total) {
        return Ok(wire::bare(StatusCode::ACCEPTED));
    }
    finish(node, upload, incoming, evidence).await
}

/// Verifies the whole and records it.
async fn finish(
    node: &Arc<Node>,
    upload: Upload,
    incoming: Incoming,
    evidence: Option<Verified>,
) -> Result<Response<Body>, Trouble> {
    let received = match incoming.finish().await {
        Ok(received) => received,
        Err(error @ IncomingError::NotVerified { .. }) => {
            return Err(fail(node, &upload, "not-verified", &error.to_string()).await);
        }
        Err(error) => return Err(not_written(node, &error).into()),
    };
    let size = received.digests.size;
    let arrival = pulls::arrival(&upload.transfer, received.digests, evidence);
    let (context, fresh, id) = (Arc::clone(&node.context), node.fresh(), upload.pull.clone());
    node.decide(move |view| pull::received(view, &context, &fresh, &id, &arrival)).await?;
    let participant = &upload.transfer.participant;
    node.metrics.data(&node.partner_name(participant), DataDirection::Received, size);
    crate::witness::later(node, participant);
    Ok(wire::bare(StatusCode::CREATED))
}

/// Why bytes stopped coming. What came is kept.
enum Broken {
    Changed,
    Lost(BodyError),
    TooMuch,
    Local(IncomingError),
}

async fn take(
    node: &Node,
    body: Received,
    incoming: &mut Incoming,
    progress: &Progress,
    most: u64,
    total: Option<u64>,
) -> Result<(), Broken> {
    let mut reader = PacedReader::new(body, node.data_pace());
    progress.pushed(incoming.offset(), total);
    while let Some(bytes) = reader.next().await.map_err(Broken::Lost)? {
        if bytes.len() as u64 > most.saturating_sub(incoming.offset()) {
            return Err(Broken::TooMuch);
        }
        incoming.append(&bytes).await.map_err(Broken::Local)?;
        progress.pushed(incoming.offset(), total);
    }
    Ok(())
}

/// Which bytes a request brings.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    from: u64,
    /// Just after the last, where it is known.
    end: Option<u64>,
    /// The size of the whole, where it is known.
    total: Option<u64>,
    /// Whether it goes on with what is here.
    is_part: bool,
}

impl Piece {
    fn read(fields: &HeaderMap) -> Result<Self, String> {
        let length = fields.typed_get::<ContentLength>().map(|length| length.0);
        if !fields.contains_key(CONTENT_RANGE) {
            return Ok(Self { from: 0, end: length, total: length, is_part: false });
        }
        let range = fields.typed_get::<ContentRange>();
        let range = range.map(|range| (range.bytes_range(), range.bytes_len()));
        let (from, end, total) = match range {
            Some((Some((first, last)), total)) => (first, last.saturating_add(1), total),
            // Nothing is missing but the end.
            Some((None, Some(total))) => (total, total, Some(total)),
            _ => return Err("Content-Range cannot be read; it must be of bytes".to_owned()),
        };
        if total.is_some_and(|total| end > total)
            || length.is_some_and(|length| length != end - from)
        {
            return Err("Content-Range and Content-Length contradict each other".to_owned());
        }
        Ok(Self { from, end: Some(end), total, is_part: true })
    }
}

/// What the evidence that came before says of the bytes; nothing where the partner gives none.
async fn expected(node: &Node, upload: &Upload) -> Result<Option<Verified>, Trouble> {
    let kept = evidence::kept(node, &upload.pull).await.map_err(|error| {
        refusal(node, RefusalKind::Unavailable, format!("the evidence cannot be read: {error}"))
    })?;
    if let Some(bundle) = kept {
        let verified = evidence::verify(node, &upload.transfer, &upload.agreement, &bundle);
        return verified
            .map(Some)
            .map_err(|reason| refusal(node, RefusalKind::Invalid, reason).into());
    }
    if !evidence::is_given_by(node, &upload.transfer.participant) {
        return Ok(None);
    }
    let text = "the evidence comes first: PUT it to this address with `/provenance` behind it";
    Err(refusal(node, RefusalKind::Invalid, text).into())
}

/// The file that the bytes go into.
async fn open(
    node: &Node,
    upload: &Upload,
    evidence: Option<&Verified>,
) -> Result<Incoming, Trouble> {
    let opened = match upload.pull.parse::<PullName>() {
        Ok(name) => node.objects.incoming(&name, evidence.map(|found| found.digests.clone())).await,
        Err(error) => Err(error),
    };
    opened.map_err(|error| match error {
        IncomingError::Busy(_) => {
            let text = "the bytes of an earlier request still come in; try again";
            refusal(node, RefusalKind::Unavailable, text).into()
        }
        error => not_written(node, &error).into(),
    })
}

fn refusal(node: &Node, kind: RefusalKind, text: impl Into<String>) -> Refusal {
    let text = text.into();
    Refusal::new(kind, text.clone(), text, node.fresh().reference)
}

/// Our own storage fails, which is not the partner's to know: it may try again.
fn not_written(node: &Node, error: &IncomingError) -> Refusal {
    let internal = crate::site::chain(error);
    tracing::error!(event = "upload.not_written", error = internal);
    let reference = node.fresh().reference;
    Refusal::new(RefusalKind::Unavailable, "temporarily unavailable", internal, reference)
}

async fn too_large(node: &Arc<Node>, upload: &Upload) -> Trouble {
    let text = "the dataset is larger than `data.max_incoming_bytes`; raise it";
    match fail(node, upload, "too-large", text).await {
        Trouble::Refused(refusal) => {
            let text = "the dataset is larger than what is taken here";
            Refusal { kind: RefusalKind::TooLarge, external: text.to_owned(), ..refusal }.into()
        }
        trouble => trouble,
    }
}

/// Ends the pull, and with it the transfer.
async fn fail(node: &Arc<Node>, upload: &Upload, code: &str, reason: &str) -> Trouble {
    let failure = Failure {
        code: code.to_owned(),
        reason: reason.to_owned(),
        reference: None,
        by_policy: false,
    };
    let (context, fresh, id) = (Arc::clone(&node.context), node.fresh(), upload.pull.clone());
    match node.decide(move |view| pull::fail(view, &context, &fresh, &id, &failure)).await {
        Ok(()) => refusal(node, RefusalKind::Invalid, reason).into(),
        Err(trouble) => trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Piece, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        Piece::read(&headers)
    }

    #[test]
    fn a_piece_is_what_its_fields_say_and_contradictions_are_refused() {
        let piece = |from, end, total, is_part| Ok(Piece { from, end, total, is_part });
        assert_eq!(read(&[]), piece(0, None, None, false));
        assert_eq!(read(&[("content-length", "7")]), piece(0, Some(7), Some(7), false));
        let part = ("content-range", "bytes 3-6/9");
        assert_eq!(read(&[part]), piece(3, Some(7), Some(9), true));
        assert_eq!(read(&[part, ("content-length", "4")]), piece(3, Some(7), Some(9), true));
        assert_eq!(read(&[("content-range", "bytes 3-6/*")]), piece(3, Some(7), None, true));
        assert_eq!(read(&[("content-range", "bytes */9")]), piece(9, Some(9), Some(9), true));
        for wrong in ["bytes 3-6/5", "bytes 6-3/9", "lines 1-2/3", "bytes */*", "x", ""] {
            assert!(read(&[("content-range", wrong)]).is_err(), "`{wrong}`");
        }
        assert!(read(&[part, ("content-length", "5")]).is_err());
    }
}
