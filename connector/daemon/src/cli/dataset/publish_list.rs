//! `sekisho dataset publish-list`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use super::super::arguments::PublishList;
use super::super::client::Client;
use super::super::failure::Failure;
use super::super::output::{Output, table};
use super::byte_bar;

/// Lines of one group.
const LINES_MAX: usize = 1_000;
/// Bytes of one group: what the daemon takes as one request, with room for the paths.
const BYTES_MAX: usize = 512 * 1024;
/// The longest line.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn run(
    arguments: &PublishList,
    client: &Client,
    output: Output,
) -> Result<(), Failure> {
    if !arguments.yes {
        let mut list = List::open(&arguments.list, arguments.from)?;
        let (mut count, mut seers) = (0_u64, BTreeMap::<String, u64>::new());
        while let Some(group) = list.next()? {
            let shown = client
                .post("/v1/datasets/batch/preview", &group.request)
                .await
                .map_err(|error| group.failed(error.into()))?;
            count += shown.get("datasets").and_then(Value::as_u64).unwrap_or_default();
            for seer in shown.get("visible_to").and_then(Value::as_array).into_iter().flatten() {
                let (Some(partner), Some(datasets)) = (
                    seer.get("partner").and_then(Value::as_str),
                    seer.get("datasets").and_then(Value::as_u64),
                ) else {
                    continue;
                };
                *seers.entry(partner.to_owned()).or_default() += datasets;
            }
        }
        output.note(&audience(count, &seers));
        output.confirm("Publish them?", false)?;
    }

    let mut list = List::open(&arguments.list, arguments.from)?;
    let bar = byte_bar(output);
    bar.set_length(list.bytes);
    let (mut published, mut unchanged) = (0_u64, 0_u64);
    while let Some(group) = list.next()? {
        let mut done = None;
        let outcome = client
            .events(Method::POST, "/v1/datasets/batch", Some(&group.request), |event| {
                if event.get("published").is_some() {
                    done = Some(event);
                }
                Ok(())
            })
            .await;
        outcome.map_err(|failure| group.failed(failure.into()))?;
        let count = |member| {
            done.as_ref().and_then(|done| done.get(member)).and_then(Value::as_u64).unwrap_or(0)
        };
        published += count("published");
        unchanged += count("unchanged");
        bar.set_position(list.read);
        bar.set_message(format!("line {}", group.last));
        output.event(&json!({ "progress": { "line": group.last, "published": published } }));
    }
    bar.finish_and_clear();
    let result = json!({ "published": published, "unchanged": unchanged });
    output.result(&result, |_| match unchanged {
        0 => format!("Published {published} datasets."),
        unchanged => format!("Published {published} datasets; {unchanged} were so already."),
    });
    Ok(())
}

fn audience(count: u64, seers: &BTreeMap<String, u64>) -> String {
    if seers.is_empty() {
        return format!("{count} datasets. No partner will see one: no policy offers any.");
    }
    let rows: Vec<Vec<String>> =
        seers.iter().map(|(partner, count)| vec![partner.clone(), count.to_string()]).collect();
    format!(
        "{count} datasets. These partners will see of them:\n{}",
        table(&["PARTNER", "DATASETS"], &rows)
    )
}

/// Some lines of the list.
struct Group {
    request: Value,
    first: u64,
    last: u64,
}

impl Group {
    /// Says which lines are not published, and how to go on.
    fn failed(&self, failure: Failure) -> Failure {
        let on = format!(
            "lines {} to {} were not published, nor those after them; put it right and go on with `--from {}`",
            self.first, self.last, self.first
        );
        let help = match &failure.help {
            Some(help) => format!("{help}; {on}"),
            None => on,
        };
        failure.help(help)
    }
}

/// The list, read group by group.
struct List {
    path: PathBuf,
    directory: PathBuf,
    lines: BufReader<File>,
    bytes: u64,
    read: u64,
    line: u64,
    from: u64,
    /// A line that was read and did not fit into the group before.
    ahead: Option<(Value, usize)>,
}

impl List {
    fn open(path: &Path, from: u64) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::misuse(format!("`{}` cannot be read: {error}", path.display()))
        };
        let whole = path.canonicalize().map_err(unreadable)?;
        let file = File::open(&whole).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let directory = whole.parent().unwrap_or(Path::new("/")).to_owned();
        let lines = BufReader::new(file);
        let path = path.to_owned();
        Ok(Self { path, directory, lines, bytes, read: 0, line: 0, from, ahead: None })
    }

    /// The next lines; nothing at the end.
    fn next(&mut self) -> Result<Option<Group>, Failure> {
        let (mut datasets, mut bytes) = (Vec::new(), 0);
        let mut first = self.line;
        let mut last = self.line;
        loop {
            let (entry, length) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.entry()? {
                    Some(entry) => entry,
                    None => break,
                },
            };
            if datasets.len() == LINES_MAX || (!datasets.is_empty() && bytes + length > BYTES_MAX) {
                self.ahead = Some((entry, length));
                break;
            }
            if datasets.is_empty() {
                first = self.line;
            }
            last = self.line;
            bytes += length;
            datasets.push(entry);
        }
        let request = json!({ "datasets": datasets });
        Ok((!datasets.is_empty()).then_some(Group { request, first, last }))
    }

    /// The next entry with the length that it has in a request.
    fn entry(&mut self) -> Result<Option<(Value, usize)>, Failure> {
        loop {
            let mut text = String::new();
            let read = self
                .lines
                .read_line(&mut text)
                .map_err(|error| self.wrong(&format!("it cannot be read: {error}")))?;
            if read == 0 {
                return Ok(None);
            }
            self.read += read as u64;
            self.line += 1;
            if text.len() > LINE_BYTES_MAX {
                return Err(self.wrong(&format!("it has more than {LINE_BYTES_MAX} bytes")));
            }
            if self.line < self.from || text.trim().is_empty() {
                continue;
            }
            let mut entry: Value =
                serde_json::from_str(&text).map_err(|error| self.wrong(&error.to_string()))?;
            let path =
                entry.get("path").and_then(Value::as_str).map(|path| self.directory.join(path));
            let Some(path) = path.as_deref().and_then(Path::to_str) else {
                return Err(self.wrong("it has no `path`"));
            };
            // The daemon runs elsewhere: it needs the whole path.
            let path = Value::from(path);
            if let Some(members) = entry.as_object_mut() {
                members.insert("path".to_owned(), path);
            }
            let length = entry.to_string().len();
            return Ok(Some((entry, length)));
        }
    }

    fn wrong(&self, reason: &str) -> Failure {
        Failure::misuse(format!("line {} of `{}`: {reason}", self.line, self.path.display()))
    }
}
