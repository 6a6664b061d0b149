//! Pushes: the provider sends the bytes to an endpoint that the consumer named in its transfer request.
//!
//! The provider asks for a permit before each attempt ([`crate::data::admit_push`]); the consumer takes bytes only with the
//! token that it made for this transfer, from the partner that it asked.

use protocol::id::Pid;
use protocol::process::Role;
use protocol::transfer::State;

use crate::agreements::ENDED_CODE;
use crate::context::{self, Decided, Fresh, Peer, Stop, settle};
use crate::data::{self, Granted};
use crate::entity::{Agreement, PullStep, Transfer};
use crate::process::{POLICY_CODE, is_terminating};
use crate::pull::NEW_VERSION_CODE;
use crate::refusal::{Refusal, RefusalKind};
use crate::{Decision, Entity, Need, View};

/// What a provider has to do next for a transfer.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing, now or later: it is no push of ours, or it is over.
    Over,
    /// Wait until the transfer changes: it is not started, or is suspended.
    Wait,
    /// Push what was granted.
    Push(Box<Granted>),
}

/// Whether an entity is a transfer whose bytes we push while it is open.
pub fn is_open(entity: &Entity) -> bool {
    matches!(entity, Entity::Transfer(transfer) if transfer.target.is_some() && !is_over(transfer))
}

fn is_over(transfer: &Transfer) -> bool {
    transfer.process.is_closed() || is_terminating(&transfer.process)
}

/// What to do next for a transfer.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn next(view: &dyn View, pid: &Pid) -> Result<Decision<Next>, Need> {
    let transfer = context::transfer(view, pid)?;
    let Some(transfer) = transfer.filter(|own| own.target.is_some() && !is_over(own)) else {
        return Ok(Decision::answer(Next::Over));
    };
    if transfer.process.state() != Some(State::Started) || transfer.process.pending().is_some() {
        return Ok(Decision::answer(Next::Wait));
    }
    Ok(Decision::answer(match data::grant_record(view, &transfer)? {
        Some(record) => Next::Push(Box::new(Granted { transfer, record })),
        None => Next::Wait,
    }))
}

/// The code by which a push that was refused a permit ends; nothing where it may be tried again, or is not started.
pub fn ends(refusal: &Refusal) -> Option<&'static str> {
    match refusal.kind {
        RefusalKind::Policy => Some(POLICY_CODE),
        RefusalKind::AgreementEnded => Some(ENDED_CODE),
        RefusalKind::NewVersion => Some(NEW_VERSION_CODE),
        RefusalKind::Suspended | RefusalKind::Offboarded | RefusalKind::NotFound => Some("ended"),
        _ => None,
    }
}

/// What may come to our upload endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Admitted {
    /// The bytes of this transfer, for this pull.
    Open {
        /// The pull's id.
        pull: String,
        /// The transfer.
        transfer: Box<Transfer>,
        /// The agreement it rests on.
        agreement: Box<Agreement>,
    },
    /// Nothing more: every byte is here and verified.
    Received {
        /// How many.
        size: u64,
    },
}

/// Judges a request to our upload endpoint: by the token for which transfer it is, by the connection who comes.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit_upload(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    token_sha256: &str,
) -> Decided<Admitted> {
    settle(try_admit_upload(view, fresh, peer, pid, token_sha256))
}

fn try_admit_upload(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    token_sha256: &str,
) -> Result<Decision<Admitted>, Stop> {
    context::active_partner(view, fresh, peer)?;
    let transfer = crate::transfer::of_peer(view, fresh, &peer.participant, pid)?;
    let upload = transfer.upload.clone().filter(|upload| {
        upload.token_sha256 == token_sha256 && transfer.process.role() == Role::Consumer
    });
    let Some(upload) = upload else {
        return Err(fresh.not_found("the upload token does not open this transfer"));
    };
    let refuse = |kind, text: String| Err(fresh.refuse(kind, text.clone(), text));
    let over = || match &transfer.failure {
        Some(failure) => failure.reason.clone(),
        None => "the transfer is over".to_owned(),
    };
    let Some(pull) = context::pull(view, &upload.pull)? else {
        return refuse(RefusalKind::IllegalState, over());
    };
    match &pull.step {
        PullStep::Transferring { transfer: current } if current == pid => {}
        PullStep::Received { transfer: current, digests, .. } if current == pid => {
            return Ok(Decision::answer(Admitted::Received { size: digests.size }));
        }
        PullStep::Delivered { transfer: current, digests: Some(digests), .. } if current == pid => {
            return Ok(Decision::answer(Admitted::Received { size: digests.size }));
        }
        _ => return refuse(RefusalKind::IllegalState, over()),
    }
    if is_over(&transfer) {
        return refuse(RefusalKind::IllegalState, over());
    }
    if transfer.process.state() != Some(State::Started) || transfer.process.pending().is_some() {
        // It may go on: who pushes shall come again.
        return refuse(
            RefusalKind::Unavailable,
            "the transfer is not started at present".to_owned(),
        );
    }
    let Some(agreement) = context::agreement(view, &transfer.agreement)? else {
        return refuse(RefusalKind::NotFound, "the agreement is gone".to_owned());
    };
    if let Some((when, reason)) = &agreement.ended {
        let text = format!("the agreement ended at {when}: {reason}");
        return refuse(RefusalKind::AgreementEnded, text);
    }
    Ok(Decision::answer(Admitted::Open {
        pull: pull.id,
        transfer: Box::new(transfer),
        agreement: Box::new(agreement),
    }))
}
