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
    for source in &sources {
        let cases = Cases::read(&source.name, &source.bytes).map_err(|found| {
            Failure::misuse(format!("`{}` is no file of cases\n{found}", source.name))
        })?;
        let judged = cases.run(&site).into_iter();
        outcomes.extend(judged.map(|outcome| (source.name.clone(), outcome)));
    }
    if outcomes.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there are no cases")
            .help("write some beside the policies; `sekisho policy test --help` shows how"));
    }
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.failure.is_some()).count();
    let result = json!({
        "ok": failed == 0,
        "passed": outcomes.len() - failed,
        "failed": failed,
        "cases": outcomes.iter().map(|(file, outcome)| json!({
            "file": file, "case": outcome.name, "ok": outcome.failure.is_none(),
            "problem": outcome.failure.as_ref().map(finding),
        })).collect::<Vec<_>>(),
    });
    output.result(&result, |_| {
        let mut lines: Vec<String> = (outcomes.iter())
            .map(|(file, outcome)| match &outcome.failure {
                None => format!("ok      {file}: {}", outcome.name),
                Some(found) => format!("FAILED  {file}: {}\n{found}", outcome.name),
            })
            .collect();
        lines.push(format!("{} of {} cases pass.", outcomes.len() - failed, outcomes.len()));
        lines.join("\n")
    });
    if failed > 0 {
        return Err(Failure::new(Exit::NotVerified, format!("{failed} cases fail")));
    }
    Ok(())
}
