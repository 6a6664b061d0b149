//! The operator: begins what the kit's triggers ask for, follows the daemon's events, and takes the steps of the script.
//! Everything goes through the public management API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use integration_tests::connector::encode;
use integration_tests::gateway::Gateway;
use integration_tests::management::{Event, Management};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::node::PARTNER;
use crate::script::{self, Hands, Part};

/// How long the operator thinks. The kit listens for the next message only after it has looked at the state, which it does
/// every 100 ms.
const THINKING: Duration = Duration::from_millis(500);
const MAX_BYTES: usize = 64 * 1024;
/// The paths of the triggers.
pub(crate) const NEGOTIATE: &str = "/negotiate";
/// See [`NEGOTIATE`].
pub(crate) const TRANSFER: &str = "/transfer";

/// The operator.
pub(crate) struct Driver {
    management: Management,
    gateway: Arc<Gateway>,
}

/// A process that the operator watches.
struct Watched {
    part: &'static Part,
    state: String,
    done: usize,
}

impl Driver {
    /// An operator of the node behind this management API, who notes what they do in the gateway's transcript.
    pub(crate) fn new(management: Management, gateway: Arc<Gateway>) -> Self {
        Self { management, gateway }
    }

    /// Serves the triggers and follows the events, in the background.
    pub(crate) async fn begin(self: &Arc<Self>, triggers: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(triggers).await?;
        let driver = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let driver = Arc::clone(&driver);
                tokio::spawn(async move {
                    let trigger = service_fn(|request| driver.triggered(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), trigger).await;
                });
            }
        });
        let mut events = self.management.events("").await?;
        let driver = Arc::clone(self);
        tokio::spawn(async move {
            let (mut watched, mut last) = (HashMap::new(), None);
            loop {
                let ended = match events.next().await {
                    Ok(Some(event)) => {
                        driver.follow(&mut watched, &event);
                        last = Some(event.id);
                        continue;
                    }
                    Ok(None) => "they ended".to_owned(),
                    Err(error) => format!("{error:#}"),
                };
                driver.gateway.note(&format!("OPERATOR: the events are asked for again: {ended}"));
                // It goes on behind what was told last, and so misses nothing.
                let from = last.as_ref().map(|last| format!("?from={last}")).unwrap_or_default();
                events = match driver.management.events(&from).await {
                    Ok(events) => events,
                    Err(error) => {
                        return driver.gateway.note(&format!("OPERATOR: no events: {error:#}"));
                    }
                };
            }
        });
        Ok(())
    }

    /// Answers a trigger of the kit.
    async fn triggered(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
        let body = Limited::new(body, MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        self.gateway.note(&format!("TRIGGER {} {}", head.uri, String::from_utf8_lossy(&body)));
        let begun = match (&head.method, head.uri.path()) {
            (&Method::POST, NEGOTIATE) => self.negotiate(&body).await,
            (&Method::POST, TRANSFER) => self.transfer(&body).await,
            _ => Err(anyhow::anyhow!("there is no trigger {}", head.uri)),
        };
        let mut response = Response::new(Full::default());
        if let Err(error) = begun {
            self.gateway.note(&format!("OPERATOR cannot: {error:#}"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(response)
    }

    /// Asks for an offer by its id, without a look into the partner's catalog: the kit has none.
    async fn negotiate(&self, body: &[u8]) -> Result<()> {
        let asked: Value = serde_json::from_slice(body)?;
        let (dataset, offer) = (text(&asked, "datasetId")?, text(&asked, "offerId")?);
        let part = find(&script::CONSUMER_NEGOTIATIONS, dataset)?;
        let request = json!({
            "partner": PARTNER,
            "role": "consumer",
            "dataset": dataset,
            "offer": offer,
            "terms": terms(offer, dataset),
            "handling": handling(part.hands),
        });
        let begun = self.management.post("/v1/negotiations", &request).await?;
        self.gateway.note(&format!("OPERATOR began {begun}"));
        Ok(())
    }

    async fn transfer(&self, body: &[u8]) -> Result<()> {
        let asked: Value = serde_json::from_slice(body)?;
        let (agreement, format) = (text(&asked, "agreementId")?, text(&asked, "format")?);
        let part = find(&script::CONSUMER_TRANSFERS, agreement)?;
        let request = json!({
            "partner": PARTNER,
            "agreement": agreement,
            "format": format,
            "handling": handling(part.hands),
        });
        let begun = self.management.post("/v1/transfers", &request).await?;
        self.gateway.note(&format!("OPERATOR began {begun}"));
        Ok(())
    }

    /// Takes the step that belongs to a state, when the state is new.
    fn follow(self: &Arc<Self>, watched: &mut HashMap<String, Watched>, event: &Event) {
        self.gateway.note(&format!("EVENT {} {}", event.kind, event.data));
        let Ok((process, part)) = part_of(&event.data) else { return };
        let Ok(state) = text(&event.data, "state") else { return };
        let key = process.path();
        let watched = watched.entry(key.clone()).or_insert_with(|| Watched {
            part,
            state: String::new(),
            done: 0,
        });
        if watched.state == state {
            return;
        }
        state.clone_into(&mut watched.state);
        let Some((_, step)) = watched.part.step(watched.done).filter(|(when, _)| *when == state)
        else {
            return;
        };
        watched.done += 1;
        let (driver, id) = (Arc::clone(self), watched.part.id());
        tokio::spawn(async move {
            tokio::time::sleep(THINKING).await;
            let path = format!("{key}/{step}");
            let took = driver.management.post(&path, &arguments(step, &id)).await;
            driver.gateway.note(&match took {
                Ok(answer) => format!("OPERATOR {path}: {answer}"),
                Err(error) => format!("OPERATOR cannot {path}: {error:#}"),
            });
        });
    }
}

/// What an event is about.
enum Process<'a> {
    Negotiation(&'a str),
    Transfer(&'a str),
}

impl Process<'_> {
    fn path(&self) -> String {
        match self {
            Self::Negotiation(pid) => format!("/v1/negotiations/{}", encode(pid)),
            Self::Transfer(pid) => format!("/v1/transfers/{}", encode(pid)),
        }
    }
}

/// Whose turn an event may make it.
fn part_of(data: &Value) -> Result<(Process<'_>, &'static Part)> {
    if let Ok(pid) = text(data, "transfer") {
        let agreement = text(data, "agreement")?;
        let part = find(&script::PROVIDER_TRANSFERS, agreement)
            .or_else(|_| find(&script::CONSUMER_TRANSFERS, agreement))?;
        return Ok((Process::Transfer(pid), part));
    }
    let (pid, dataset) = (text(data, "negotiation")?, text(data, "dataset")?);
    let part = find(&script::PROVIDER_NEGOTIATIONS, dataset)
        .or_else(|_| find(&script::CONSUMER_NEGOTIATIONS, dataset))?;
    Ok((Process::Negotiation(pid), part))
}

fn find(parts: &'static [Part], id: &str) -> Result<&'static Part> {
    let found = parts.iter().find(|part| part.id() == id);
    found.with_context(|| format!("no test of the kit is about `{id}`"))
}

fn handling(hands: Hands) -> &'static str {
    match hands {
        Hands::Auto => "auto",
        Hands::Manual => "manual",
    }
}

/// What a step needs to be told.
fn arguments(step: &str, id: &str) -> Value {
    match step {
        "request" => json!({ "terms": terms(&format!("offer{id}"), id), "reason": "we ask again" }),
        "terminate" => json!({ "code": "operator", "reason": "the operator ended it" }),
        _ => json!({ "reason": "the operator decided so" }),
    }
}

/// An offer to be asked for: use without conditions.
fn terms(offer: &str, dataset: &str) -> Value {
    json!({
        "@id": offer,
        "@type": "Offer",
        "target": dataset,
        "permission": [{ "action": "use" }],
    })
}

fn text<'a>(document: &'a Value, member: &str) -> Result<&'a str> {
    match document.get(member).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => bail!("no `{member}` in {document}"),
    }
}
