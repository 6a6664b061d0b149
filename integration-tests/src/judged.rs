//! What the nodes of a scene sent, held against the official schemas: messages and answers.
//!
//! A node's journal has each DSP message that it owed, without the access token; it is read before the node stops. Answers are
//! not in it. Each one that a [`crate::peer::Peer`] receives is judged as it comes, whoever stands behind that peer: a test, a
//! partner's connector, or another site whose requests pass through a [`crate::window::Window`]. The gateway of the compatibility
//! kit judges what the kit is answered. What is not seen is what two sites answer each other without a window between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use http::header;
use serde_json::Value;

use crate::connector::BASE;
use crate::management::Management;
use crate::peer::Reply;
use crate::schemas::{Schemas, VERSIONS};

/// The newest records of a node; no test makes more.
const RECORDS: &str = "/v1/audit/records?full=true&limit=10000&count=false";
/// How long a node may take to show them. One that a test has broken shows nothing.
const LIMIT: Duration = Duration::from_secs(20);
/// Version discovery.
const DISCOVERY: &str = "/.well-known/dspace-version";
/// The largest answer that is unpacked.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Below [`BASE`]: where a path begins, the type of what is answered there, and that of its errors.
const ROUTES: [(&str, &str, &str); 4] = [
    ("/catalog/request", "Catalog", "CatalogError"),
    ("/catalog/datasets/", "Dataset", "CatalogError"),
    ("/negotiations/", "ContractNegotiation", "ContractNegotiationError"),
    ("/transfers/", "TransferProcess", "TransferError"),
];

/// What was judged in one scene.
#[derive(Debug, Default)]
pub struct Judged(Mutex<Findings>);

#[derive(Debug, Default)]
struct Findings {
    /// The ids of the messages that were looked at.
    messages: BTreeSet<String>,
    /// How many answers of each type were looked at.
    answers: BTreeMap<String, usize>,
    faults: Vec<String>,
}

impl Judged {
    /// Looks through the journal of a node that serves, by its socket. Nothing where the schemas are not at hand.
    pub(crate) fn look(&self, node: &str, socket: &Path) {
        match Schemas::named() {
            Ok(None) => {}
            Ok(Some(schemas)) => {
                // A node that does not answer any more is one that its test has stopped or broken.
                for message in sent(socket).unwrap_or_default() {
                    self.judge(node, schemas, &message);
                }
            }
            Err(error) => self.findings().faults.push(format!("{error:#}")),
        }
    }

    /// Judges an answer that a node gave. What violates its schema is found once more by [`Judged::verdict`], whatever becomes of
    /// the error.
    ///
    /// # Errors
    /// As [`answer`].
    pub(crate) fn answer(&self, node: &str, path: &str, reply: &Reply) -> Result<()> {
        match answer(path, reply) {
            Ok(None) => Ok(()),
            Ok(Some(kind)) => {
                *self.findings().answers.entry(kind).or_default() += 1;
                Ok(())
            }
            Err(error) => {
                self.findings().faults.push(format!("`{node}`: {error:#}"));
                Err(error)
            }
        }
    }

    fn judge(&self, node: &str, schemas: &Schemas, message: &Value) {
        let id = message.get("@id").and_then(Value::as_str).unwrap_or_default();
        if !self.findings().messages.insert(id.to_owned()) {
            return;
        }
        let (kind, faults) = schemas.judge(message);
        let told = |fault| format!("a {kind} of `{node}` violates its schema: {fault}\n{message}");
        self.findings().faults.extend(faults.into_iter().map(told));
    }

    fn findings(&self) -> std::sync::MutexGuard<'_, Findings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages were looked at.
    pub fn count(&self) -> usize {
        self.findings().messages.len()
    }

    /// How many answers of each type were looked at.
    pub fn answers(&self) -> BTreeMap<String, usize> {
        self.findings().answers.clone()
    }

    /// That nothing was found.
    ///
    /// # Errors
    /// Everything that violates its schema.
    pub fn verdict(&self) -> Result<()> {
        let faults = self.findings().faults.join("\n");
        ensure!(faults.is_empty(), "{faults}");
        Ok(())
    }
}

/// Judges what is answered at a path: the type of the document, where there is one. Nothing where the path is not DSP's, or the
/// schemas are not at hand.
///
/// # Errors
/// When the answer is not as DSP wants it.
pub fn answer(path: &str, reply: &Reply) -> Result<Option<String>> {
    let Some(schemas) = Schemas::named()? else { return Ok(None) };
    let wrong = |what: &str| {
        let body = String::from_utf8_lossy(&reply.body);
        anyhow!("the answer {} to `{path}` violates DSP: {what}\n{body}", reply.status)
    };
    let Some((good, bad)) = types(path) else { return Ok(None) };
    if reply.body.is_empty() {
        // A path that is none of ours, and what a node says where it cannot say more.
        let bare = reply.status != 201;
        ensure!(bare, wrong("what was begun is not described"));
        return Ok(None);
    }
    let declared = reply.header(header::CONTENT_TYPE.as_str());
    let known = ["application/json", "application/ld+json"].contains(&declared);
    ensure!(known, wrong(&format!("its type is `{declared}`")));
    let document = document(reply).map_err(|error| wrong(&error.to_string()))?;
    let (kind, faults) = schemas.judge(&document);
    ensure!(faults.is_empty(), wrong(&faults.join("\n")));
    let fits = if (200..300).contains(&reply.status) { kind == good } else { kind == bad };
    ensure!(fits, wrong(&format!("a {kind} does not belong there")));
    Ok(Some(kind))
}

/// What is answered at a path, well or badly.
fn types(path: &str) -> Option<(&'static str, &'static str)> {
    let path = path.split('?').next().unwrap_or_default();
    if path == DISCOVERY {
        return Some((VERSIONS, "no document"));
    }
    let below = path.strip_prefix(BASE)?;
    let route = ROUTES.iter().find(|(begin, _, _)| below.starts_with(begin));
    route.map(|(_, good, bad)| (*good, *bad))
}

fn document(reply: &Reply) -> Result<Value> {
    if reply.header(header::CONTENT_ENCODING.as_str()) != "gzip" {
        return reply.json();
    }
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&reply.body[..]).take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The messages that a node owed. The question has a thread of its own, as a test may be asynchronous itself.
fn sent(socket: &Path) -> Result<Vec<Value>> {
    let management = Management::at(socket);
    let asking = std::thread::spawn(move || -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(LIMIT, management.get(RECORDS)).await })?
    });
    let answer = asking.join().map_err(|_| anyhow::anyhow!("the question failed"))??;
    let records = answer.get("items").and_then(Value::as_array).context("no records")?;
    // What came from a partner names the certificate by which it came.
    let own = records.iter().filter(|record| record.pointer("/account/node").is_none());
    let messages = own.filter_map(|record| record.get("message").filter(|found| found.is_object()));
    Ok(messages.cloned().collect())
}
