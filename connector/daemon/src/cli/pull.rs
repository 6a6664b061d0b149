//! `sekisho pull`.
//!
//! The daemon negotiates, downloads and verifies; this command receives the bytes from it and writes them as the caller. Both
//! keep what they have: whichever is interrupted, the same command continues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::arguments::Pull;
use super::client::{Client, ClientError, path};
use super::dataset::{byte_bar, progress_text, show_progress};
use super::failure::Failure;
use super::output::Output;
use crate::exit::Exit;

mod part;

use part::{Part, Target, Whole};

/// The time between two attempts to reach a daemon that is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The time between two lines of progress where no bar is shown.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// Larger evidence is none of ours.
const MAX_EVIDENCE_BYTES: usize = provenance::bundle::MAX_BUNDLE_BYTES;

/// Pulls a dataset to its end.
pub(super) async fn run(arguments: &Pull, client: &Client, output: Output) -> Result<(), Failure> {
    if let Some(file) = &arguments.output {
        // Known before anything is negotiated.
        Target::new(file.clone(), arguments.force)?;
    }
    let bar = byte_bar(output);
    let mut patience = Patience::new(Duration::from_secs(arguments.wait_seconds), output);
    let outcome = async {
        let received = receive(arguments, client, output, &bar, &mut patience).await?;
        let file = match &arguments.output {
            Some(file) => file.clone(),
            None => PathBuf::from(part::safe_name(&received.file_name, arguments.dataset.as_str())),
        };
        let target = Target::new(file, arguments.force)?;
        let proven = copy(&received, &target, client, &bar, &mut patience).await?;
        Ok::<_, Failure>((received, target, proven))
    }
    .await;
    bar.finish_and_clear();
    let (received, target, proven) = outcome?;
    acknowledge(&received.id, client, output).await;
    let result = json!({ "delivered": {
        "file": target.file(),
        "provenance": proven.then(|| target.provenance()),
        "size": received.whole.size,
        "sha256": received.whole.sha256,
        "blake3": received.whole.blake3,
    }});
    output.result(&result, |_| {
        let evidence = if proven {
            format!("its evidence is `{}`", target.provenance().display())
        } else {
            "the partner's connector gives no signed evidence".to_owned()
        };
        format!(
            "Received `{}` ({} bytes), whole and verified; {evidence}.",
            target.file().display(),
            received.whole.size,
        )
    });
    Ok(())
}

/// What the daemon holds for us.
#[derive(Debug)]
struct Received {
    id: String,
    file_name: String,
    whole: Whole,
}

impl Received {
    fn read(value: &Value) -> Result<Self, Failure> {
        let text = |member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
        let size = value.get("size").and_then(Value::as_u64);
        match (text("id"), text("file_name"), size, text("sha256"), text("blake3")) {
            (Some(id), Some(file_name), Some(size), Some(sha256), Some(blake3)) => {
                Ok(Self { id, file_name, whole: Whole { size, sha256, blake3 } })
            }
            _ => Err(ClientError::BadAnswer(
                "what it received has no id, name, size or digest".to_owned(),
            )
            .into()),
        }
    }
}

/// Follows the pull until the daemon has everything, through restarts of the daemon.
async fn receive(
    arguments: &Pull,
    client: &Client,
    output: Output,
    bar: &ProgressBar,
    patience: &mut Patience,
) -> Result<Received, Failure> {
    let request = json!({
        "partner": arguments.partner,
        "dataset": arguments.dataset,
        "purpose": arguments.purpose,
        "push": arguments.push,
        "wait_seconds": arguments.wait_seconds,
    });
    loop {
        let mut received = None;
        let mut lines = Lines::new(output);
        let outcome = client
            .events(Method::POST, "/v1/pulls", Some(&request), |event| {
                patience.renew();
                output.event(&event);
                lines.show(&event, bar);
                if let Some(value) = event.get("received") {
                    received = Some(Received::read(value)?);
                }
                Ok(())
            })
            .await;
        match (outcome, received) {
            (_, Some(received)) => return Ok(received),
            (Ok(()), None) => {
                let cut = ClientError::Lost("the pull's events ended early".into());
                patience.wait(cut).await?;
            }
            (Err(error), None) => patience.wait(error).await?,
        }
    }
}

/// Copies the bytes from the daemon into `FILE.part`, verifies them, and puts FILE and its evidence in their places.
async fn copy(
    received: &Received,
    target: &Target,
    client: &Client,
    bar: &ProgressBar,
    patience: &mut Patience,
) -> Result<bool, Failure> {
    let evidence = loop {
        match evidence(&received.id, client).await {
            Ok(evidence) => break evidence,
            Err(error) => patience.wait(error).await?,
        }
    };
    bar.set_message("copying");
    bar.set_length(received.whole.size);
    let mut part = Part::open(target, received.whole.size)?;
    let mut resumed = part.length() > 0;
    loop {
        match stream(&received.id, client, &mut part, &received.whole, bar).await {
            Ok(()) => {}
            Err(Interrupted::Daemon(error)) => {
                patience.wait(error).await?;
                continue;
            }
            Err(Interrupted::Here(failure)) => return Err(failure),
        }
        patience.renew();
        match part.verify(&received.whole) {
            Ok(()) => break,
            // What lay there from before was of something else: once more, from the start.
            Err(_) if resumed => {
                resumed = false;
                part.restart()?;
            }
            Err(failure) => return Err(failure),
        }
    }
    if let Some(evidence) = &evidence {
        belongs(evidence, &received.whole)?;
    }
    part.finish(target, evidence.as_deref())?;
    Ok(evidence.is_some())
}

enum Interrupted {
    Daemon(ClientError),
    Here(Failure),
}

async fn stream(
    id: &str,
    client: &Client,
    part: &mut Part,
    whole: &Whole,
    bar: &ProgressBar,
) -> Result<(), Interrupted> {
    if part.length() >= whole.size {
        return Ok(());
    }
    let from = part.length();
    let answer = client
        .bytes(&path(&["v1", "pulls", id, "content"], &[]), from)
        .await
        .map_err(Interrupted::Daemon)?;
    if from > 0 && answer.status() != http::StatusCode::PARTIAL_CONTENT {
        // It sends everything, so everything is taken anew.
        part.restart().map_err(Interrupted::Here)?;
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Interrupted::Daemon(ClientError::Lost(error.into())))?;
        if let Ok(data) = frame.into_data() {
            part.append(&data, whole.size).map_err(Interrupted::Here)?;
            bar.set_position(part.length());
        }
    }
    if part.length() < whole.size {
        return Err(Interrupted::Daemon(ClientError::Lost("the copy ended early".into())));
    }
    Ok(())
}

async fn evidence(id: &str, client: &Client) -> Result<Option<Vec<u8>>, ClientError> {
    let answer = match client.bytes(&path(&["v1", "pulls", id, "provenance"], &[]), 0).await {
        Err(ClientError::Refused(failure)) if failure.exit == Exit::NotFound => return Ok(None),
        answer => answer?,
    };
    let body = http_body_util::Limited::new(answer.into_body(), MAX_EVIDENCE_BYTES);
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let bytes = body.collect().await.map_err(ClientError::Lost)?.to_bytes();
    Ok(Some(bytes.to_vec()))
}

/// Whether the evidence is about these bytes. That it is genuine the daemon has verified; anybody can again, offline.
fn belongs(evidence: &[u8], whole: &Whole) -> Result<(), Failure> {
    let refused = |reason: String| Failure::new(Exit::NotVerified, reason);
    let bundle = provenance::Bundle::parse(evidence).map_err(|error| refused(error.to_string()))?;
    let leaf: Value = serde_json::from_str(bundle.leaf()).unwrap_or_default();
    match leaf.pointer("/digests/dataset").and_then(Value::as_str) {
        Some(digest) if digest == whole.sha256 => Ok(()),
        _ => Err(refused("the evidence is about another file".to_owned())),
    }
}

/// Tells the daemon that it may let go of the bytes. When that is lost they are kept a while longer, no more.
async fn acknowledge(id: &str, client: &Client, output: Output) {
    if let Err(error) = client.post(&path(&["v1", "pulls", id, "delivered"], &[]), &json!({})).await
    {
        output.note(&format!("The daemon keeps its copy for now: {error}."));
    }
}

/// How long a daemon that is away is waited for, since it was last heard.
struct Patience {
    limit: Duration,
    heard: Instant,
    said: bool,
    output: Output,
}

impl Patience {
    fn new(limit: Duration, output: Output) -> Self {
        Self { limit, heard: Instant::now(), said: false, output }
    }

    fn renew(&mut self) {
        self.heard = Instant::now();
        self.said = false;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The error, when it does not pass by itself or the time is up.
    async fn wait(&mut self, error: ClientError) -> Result<(), Failure> {
        if !error.is_passing() || self.heard.elapsed() >= self.limit {
            return Err(error.into());
        }
        if !self.said {
            self.output.note(&format!("Waiting: {error}."));
            self.said = true;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
        Ok(())
    }
}

/// Progress for people: the bar on a terminal, else a line now and then.
struct Lines {
    output: Output,
    last: Option<Instant>,
    step: String,
}

impl Lines {
    fn new(output: Output) -> Self {
        Self { output, last: None, step: String::new() }
    }

    fn show(&mut self, event: &Value, bar: &ProgressBar) {
        let step =
            event.pointer("/pull/step").and_then(Value::as_str).map(super::output::printable);
        if let Some(step) = step.filter(|step| *step != self.step) {
            if !self.output.is_watched() {
                self.output.note(&step);
            }
            bar.set_message(step.clone());
            self.step = step;
        }
        if let Some(progress) = event.get("progress") {
            show_progress(bar, progress);
            let due = self.last.is_none_or(|last| last.elapsed() >= LINE_PAUSE);
            if !self.output.is_watched() && due {
                self.output.note(&progress_text(progress));
                self.last = Some(Instant::now());
            }
        }
    }
}

/// A file beside another: its name with an ending added.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
