//! Transfers: shown, begun as consumer, and moved by steps of ours.

use std::sync::Arc;
use std::time::Duration;

use engine::entity::{Agreement, Transfer};
use engine::transfer::{Acted, Order, Prepared, Step, Wanted};
use engine::{Decider, Decision, Entity, Handling, Key};
use protocol::id::{AgreementId, Pid};
use protocol::message::{DataAddress, EndpointProperty};
use protocol::process::Role as Party;
use protocol::transfer::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::agreements::OurSide;
use super::answer::{ApiError, ErrorKind};
use super::approvals;
use super::caller::{POLICY_AND_APPLICATIONS, READERS_AND_APPLICATIONS, agreed_purpose};
use super::negotiations::{Handled, ShownAwaiting};
use super::route::{Call, Created, Json, Route};
use crate::node::Node;
use crate::transfers;

/// How long a step waits for the answer to a message of ours that is under way.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How often a grant is decided again because its facts changed while they were signed.
const PREPARE_ROUNDS: usize = 4;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "transfers.begin",
            "/v1/transfers",
            "Request data as consumer, outside of a pull: the transfer is then driven by steps",
            begin,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
        Route::get("transfers.show", "/v1/transfers/{pid}", "One transfer", show)
            .for_roles(READERS_AND_APPLICATIONS),
        Route::post(
            "transfers.step",
            "/v1/transfers/{pid}/{step}",
            "Take a step of ours: start (grant, as provider), suspend, resume, complete, terminate. \
             409 names the steps that are possible",
            step,
        )
        .for_roles(POLICY_AND_APPLICATIONS),
    ]
}

/// What is wanted of a partner.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Beginning {
    /// The partner's short name or participant id.
    partner: String,
    /// The agreement, which we hold as consumer.
    agreement: String,
    /// The transfer format; else `HttpData-PULL`.
    format: Option<String>,
    /// Who takes our steps: `auto` or `manual`.
    #[schemars(with = "Option<String>")]
    handling: Option<Handling>,
    /// Where the provider shall push the data.
    data_address: Option<Address>,
    /// Why, for the journal.
    reason: Option<String>,
}

/// A DSP data address. Its secret is sealed, and filled in when the request is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Address {
    /// How the endpoint is used, such as `https://w3id.org/idsa/v4.1/HTTP`.
    endpoint_type: String,
    /// Its URL.
    endpoint: Option<String>,
    /// Further properties: `authorization`, the secret, and `authType`, which is `bearer` unless it says otherwise.
    #[serde(default)]
    endpoint_properties: Vec<Property>,
}

/// A property of a data address.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Property {
    name: String,
    value: String,
}

impl std::fmt::Debug for Property {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Property").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a step says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// A code for the partner, of a suspension or termination.
    code: Option<String>,
    /// Why: for the journal, and of a suspension or termination for the partner too.
    reason: Option<String>,
}

/// Begins a transfer as consumer.
async fn begin(call: Call, wanted: Beginning) -> Result<Created<ShownTransfer>, ApiError> {
    let node = call.node();
    let participant = call.caller.partner(node, &wanted.partner)?;
    let agreement: AgreementId = wanted
        .agreement
        .parse()
        .map_err(|error| ApiError::invalid(format!("agreement: {error}")))?;
    // One that is not within the scope is unknown to the caller, in the same words.
    match read(node, Key::Agreement(agreement.clone())).await?.as_deref() {
        Some(Entity::Agreement(found)) if sees(&call, found) => {}
        _ => {
            return Err(ApiError::not_found(format!("there is no agreement `{agreement}`"))
                .help("`sekisho agreement list` shows all"));
        }
    }
    let fresh = node.fresh();
    let (data_address, secret) = match wanted.data_address {
        Some(address) => address.checked().map(|(address, secret)| (Some(address), secret))?,
        None => (None, None),
    };
    let sealed_token = match secret {
        None => None,
        Some(secret) => Some(
            crate::transfers::seal(node, &Pid::from_uuid(fresh.process), &secret)
                .ok_or_else(|| ApiError::new(ErrorKind::TryAgain, "the secret cannot be sealed"))?,
        ),
    };
    let asked = Wanted {
        format: wanted.format.unwrap_or_else(|| engine::transfer::HTTP_PULL.to_owned()),
        data_address,
        sealed_token,
        upload: None,
        handling: wanted.handling,
    };
    node.check_owing(&participant).map_err(ApiError::from)?;
    let by = Decider { person: Some(call.person()), reason: wanted.reason };
    let context = Arc::clone(&node.context);
    let begun = node
        .decide(move |view| {
            engine::transfer::begin(view, &context, &fresh, &participant, &agreement, &asked, &by)
        })
        .await?;
    Ok(Created(ShownTransfer::of(node, &begun)))
}

impl Address {
    /// The address without its secret, and the secret.
    fn checked(self) -> Result<(DataAddress, Option<String>), ApiError> {
        let mut properties = Vec::new();
        let mut secret = None;
        for Property { name, value } in self.endpoint_properties {
            match name.as_str() {
                "authType" => properties.push(EndpointProperty::new(&name, &value)),
                "authorization" if secret.is_none() => secret = Some(value),
                _ => {
                    let text = format!(
                        "the property `{name}` cannot be sent: a request is kept in the journal, and it may be a secret"
                    );
                    return Err(ApiError::invalid(text).help(
                        "`authorization`, once, is sealed and sent; `authType` says how it is used",
                    ));
                }
            }
        }
        if secret.is_some() && properties.is_empty() {
            properties.push(EndpointProperty::new("authType", "bearer"));
        }
        let address = DataAddress {
            endpoint_type: self.endpoint_type,
            endpoint: self.endpoint,
            endpoint_properties: properties,
        };
        Ok((address, secret))
    }
}

/// One transfer.
async fn show(call: Call) -> Result<Json<ShownTransfer>, ApiError> {
    let (node, pid) = (call.node(), call.segment("pid"));
    Ok(Json(ShownTransfer::of(node, &of_caller(&call, pid).await?)))
}

/// Takes a step.
async fn step(call: Call, said: Said) -> Result<Json<ShownTransfer>, ApiError> {
    let node = call.node();
    let name = call.segment("step");
    let Some(step) = Step::ALL.into_iter().find(|step| step.name() == name) else {
        let known = Step::ALL.map(Step::name).join(", ");
        return Err(ApiError::not_found(format!("there is no step `{name}`; there are {known}")));
    };
    let transfer = of_caller(&call, call.segment("pid")).await?;
    let by = Decider { person: Some(call.person()), reason: said.reason };
    let order = Order { step, code: said.code, by };
    Ok(Json(ShownTransfer::of(node, &act(node, &transfer.pid, order).await?)))
}

/// Takes a step of ours, and waits a while for the answer to the message before it.
///
/// # Errors
/// When the step is not legal, refused, or cannot be stored.
pub(super) async fn act(node: &Arc<Node>, pid: &Pid, order: Order) -> Result<Transfer, ApiError> {
    if order.step != Step::Start && order.step != Step::Resume {
        // The transfer may close now: what it was served is recorded before.
        crate::node::record_served(node).await;
    }
    let mut changed = node.store.subscribe(Key::Transfer(pid.clone()));
    let end = Instant::now() + ANSWER_WAIT;
    let mut prepared: Option<Prepared> = None;
    let mut rounds = PREPARE_ROUNDS;
    loop {
        let (context, fresh, pid) = (Arc::clone(&node.context), node.fresh(), pid.clone());
        let (order, ready) = (order.clone(), prepared.take());
        let (site, attempted) = (node.identity.site.load(), node.attempts.any(&pid));
        let acted = node
            .decide(move |view| {
                let next_token =
                    |pid: &Pid, generation: u32| transfers::token_sha256(&site, pid, generation);
                let ready = ready.as_ref();
                engine::transfer::act(
                    view, &context, &fresh, &pid, attempted, &order, ready, next_token,
                )
            })
            .await?;
        match acted {
            Acted::Done(transfer) => {
                crate::witness::later(node, &transfer.participant);
                return Ok(*transfer);
            }
            Acted::Prepare(facts) if rounds > 0 => {
                rounds -= 1;
                prepared = Some(transfers::prepare(node, *facts)?);
            }
            Acted::Prepare(_) => {
                let text = "the dataset or its agreement changes too often; try again";
                return Err(ApiError::new(ErrorKind::TryAgain, text));
            }
            Acted::Busy(message) => {
                if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                    let text = format!("our {message} is not answered yet");
                    return Err(ApiError::new(ErrorKind::TryAgain, text)
                        .help("the partner may be away; `terminate` is possible at any time"));
                }
            }
        }
    }
}

/// A transfer that the caller may see.
async fn of_caller(call: &Call, pid: &str) -> Result<Transfer, ApiError> {
    let unknown = || {
        ApiError::not_found(format!("there is no transfer `{pid}`"))
            .help("`sekisho transfer list` shows all")
    };
    let key = Key::Transfer(Pid::new(pid).map_err(|_| unknown())?);
    match read(call.node(), key).await?.as_deref() {
        Some(Entity::Transfer(found)) => {
            let purpose = agreed_purpose(call.node(), Some(found.agreement.clone())).await?;
            let scope = &call.caller.scope;
            let seen = scope.sees(&found.participant, &found.dataset, purpose.as_deref());
            if seen { Ok(found.clone()) } else { Err(unknown()) }
        }
        _ => Err(unknown()),
    }
}

fn sees(call: &Call, agreement: &Agreement) -> bool {
    let purpose = agreement.purpose.as_deref();
    call.caller.scope.sees(&agreement.participant, &agreement.dataset, purpose)
}

async fn read(node: &Arc<Node>, key: Key) -> Result<Option<Arc<Entity>>, ApiError> {
    Ok(node.commit(move |view| Ok(Decision::answer(view.entity(&key)?))).await?)
}

/// A transfer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownTransfer {
    /// Our process id.
    id: String,
    /// When it began.
    created: String,
    /// The partner's short name.
    partner: String,
    /// The partner.
    participant: String,
    /// Our side.
    side: OurSide,
    /// The acknowledged state (DSP 2025-1); `not sent yet` until the partner has our request.
    state: &'static str,
    /// Who suspended it, and may resume it: `provider` or `consumer`.
    suspended_by: Option<String>,
    /// Our message that the partner has not acknowledged yet.
    pending: Option<&'static str>,
    /// Who takes our steps.
    handling: Handled,
    /// What waits for a decision.
    awaiting: Option<ShownAwaiting>,
    /// The steps that we may take now.
    steps: Vec<&'static str>,
    consumer_pid: Option<String>,
    provider_pid: Option<String>,
    dataset: String,
    /// The agreement that it rests on.
    agreement: String,
    /// The transfer format.
    format: String,
    /// Where the data are, as consumer.
    endpoint: Option<String>,
    /// Bytes served so far, as provider.
    served_bytes: Option<u64>,
    /// Data requests so far, as provider.
    requests: Option<u64>,
    /// Why it ended, where it did not end well.
    failure: Option<String>,
    /// A code for that.
    code: Option<String>,
    /// The reference to give to the other side's administrator.
    reference: Option<String>,
}

impl ShownTransfer {
    pub(super) fn of(node: &Node, transfer: &Transfer) -> Self {
        let process = &transfer.process;
        let (ours, theirs) = (Some(&transfer.pid), transfer.peer_pid.as_ref());
        let (side, consumer_pid, provider_pid) = match process.role() {
            Party::Provider => (OurSide::Provider, theirs, ours),
            Party::Consumer => (OurSide::Consumer, ours, theirs),
        };
        let state = process.state();
        let failure = transfer.failure.as_ref();
        Self {
            id: transfer.pid.to_string(),
            created: transfer.created.to_string(),
            partner: node.partner_name(&transfer.participant),
            participant: transfer.participant.to_string(),
            side,
            state: state.map_or("not sent yet", |state| state.on_wire().as_str()),
            suspended_by: match state {
                Some(State::Suspended(by)) => Some(by.to_string()),
                _ => None,
            },
            pending: process.pending().map(|pending| pending.message.message_type()),
            handling: transfer.handling.into(),
            awaiting: transfer.awaiting.map(|awaiting| ShownAwaiting {
                since: awaiting.since.to_string(),
                deadline: awaiting.deadline.to_string(),
                approving: approvals::granting(transfer).then(|| Step::Start.name().to_owned()),
            }),
            steps: engine::transfer::steps(transfer).into_iter().map(Step::name).collect(),
            consumer_pid: consumer_pid.map(ToString::to_string),
            provider_pid: provider_pid.map(ToString::to_string),
            dataset: transfer.dataset.to_string(),
            agreement: transfer.agreement.to_string(),
            format: transfer.format.clone(),
            endpoint: transfer.source.as_ref().map(|source| source.endpoint.clone()),
            served_bytes: transfer.grant.as_ref().map(|grant| grant.served),
            requests: transfer.grant.as_ref().map(|grant| grant.requests),
            failure: failure.map(|failure| failure.reason.clone()),
            code: failure.map(|failure| failure.code.clone()),
            reference: failure.and_then(|failure| failure.reference.clone()),
        }
    }
}
