//! `sekisho policy test`.

use std::path::PathBuf;

use policy::cases::{Cases, Outcome};
use policy::inquiry::Site;
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::{Desk, finding};
use crate::exit::Exit;
use crate::policies;
use crate::policies::facts;

pub(super) fn run(desk: &Desk, files: &[PathBuf], output: Output) -> Result<(), Failure> {
    let rules = desk.filed(output)?;
    let partners = facts::partners(&desk.registry()?);
    let site = Site { rules, partners, datasets: Vec::new() };
    let sources = if files.is_empty() {
        policies::case_files(&desk.paths.policies)?
    } else {
        let read = |file: &PathBuf| policies::source(file, &file.display().to_string());
        files.iter().map(read).collect::<Result<Vec<_>, _>>()?
    };
    let mut outcomes: Vec<(String, Outcome)> = Vec::new();
    // What is wrong in one file keeps no case of another from being judged.
    let mut broken = Vec::new();
    for source in &sources {
        match Cases::read(&source.name, &source.bytes) {
            Ok(cases) => {
                let judged = cases.run(&site).into_iter();
                outcomes.extend(judged.map(|outcome| (source.name.clone(), outcome)));
            }
            Err(found) => broken.push(found),
        }
    }
    if outcomes.is_empty() && broken.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there are no cases")
            .help("write some beside the policies; `sekisho policy test --help` shows how"));
    }
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.failure.is_some()).count();
    let result = json!({
        "ok": failed == 0 && broken.is_empty(),
        "passed": outcomes.len() - failed,
        "failed": failed,
        "cases": outcomes.iter().map(|(file, outcome)| json!({
            "file": file, "case": outcome.name, "ok": outcome.failure.is_none(),
            "problem": outcome.failure.as_ref().map(finding),
        })).collect::<Vec<_>>(),
        "problems": broken.iter().map(finding).collect::<Vec<_>>(),
    });
    output.result(&result, |_| {
        let mut lines: Vec<String> = (outcomes.iter())
            .map(|(file, outcome)| match &outcome.failure {
                None => format!("ok      {file}: {}", outcome.name),
                Some(found) => format!("FAILED  {file}: {}\n{found}", outcome.name),
            })
            .collect();
        lines.extend(broken.iter().map(ToString::to_string));
        lines.push(format!("{} of {} cases pass.", outcomes.len() - failed, outcomes.len()));
        lines.join("\n")
    });
    if !broken.is_empty() {
        let number = broken.len();
        return Err(Failure::misuse(format!(
            "{number} files are no files of cases; {failed} cases fail"
        )));
    }
    if failed > 0 {
        return Err(Failure::new(Exit::NotVerified, format!("{failed} cases fail")));
    }
    Ok(())
}
