//! What the nodes of a scene sent, held against the official schemas: read from their journals before they stop.
//!
//! A node's journal has each DSP message that it owed, without the access token. Answers are not in it; those are judged where a
//! test plays the partner ([`crate::connector`]) and by the gateway of the compatibility kit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::management::Management;
use crate::schemas::Schemas;

/// The newest records of a node; no test makes more.
const RECORDS: &str = "/v1/audit/records?full=true&limit=10000";
/// How long a node may take to show them. One that a test has broken shows nothing.
const LIMIT: Duration = Duration::from_secs(20);

/// What was judged in one scene.
#[derive(Debug, Default)]
pub struct Judged(Mutex<Findings>);

#[derive(Debug, Default)]
struct Findings {
    /// The ids of the messages that were looked at.
    messages: BTreeSet<String>,
    faults: Vec<String>,
}

impl Judged {
    /// Looks through the journal of a node that serves, by its socket. Nothing where the schemas are not at hand.
    pub(crate) fn look(&self, node: &str, socket: &Path) {
        static SCHEMAS: OnceLock<Result<Option<Schemas>, String>> = OnceLock::new();
        let schemas =
            SCHEMAS.get_or_init(|| Schemas::named().map_err(|error| format!("{error:#}")));
        match schemas {
            Ok(None) => {}
            Ok(Some(schemas)) => {
                // A node that does not answer any more is one that its test has stopped or broken.
                for message in sent(socket).unwrap_or_default() {
                    self.judge(node, schemas, &message);
                }
            }
            Err(error) => self.findings().faults.push(error.clone()),
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

/// The messages that a node owed. The question has a thread of its own, as a test may be asynchronous itself.
fn sent(socket: &Path) -> Result<Vec<Value>> {
    let management = Management::at(socket);
    let asking = std::thread::spawn(move || -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(LIMIT, management.get(RECORDS)).await })?
    });
    let answer = asking.join().map_err(|_| anyhow::anyhow!("the question failed"))??;
    let records = answer.get("records").and_then(Value::as_array).context("no records")?;
    // What came from a partner names the certificate by which it came.
    let own = records.iter().filter(|record| record.pointer("/account/node").is_none());
    let messages = own.filter_map(|record| record.get("message").filter(|found| found.is_object()));
    Ok(messages.cloned().collect())
}
