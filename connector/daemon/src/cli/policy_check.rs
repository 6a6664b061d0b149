//! `sekisho policy check`.

use std::path::Path;

use policy::diagnostic::Diagnostic;
use policy::explain::{Language, plain};
use policy::set::{CompiledPolicy, RuleSet};
use serde_json::{Value, json};

use super::arguments::Policy;
use super::failure::Failure;
use super::output::Output;
use crate::partners::Registry;
use crate::policies;

pub(super) fn run(site: &Path, command: &Policy, output: Output) -> Result<(), Failure> {
    let Policy::Check { files } = command;
    let (_, paths) = super::locate(site)?;
    let registry = Registry::load(&paths.partners)?;
    let mut sources = policies::sources(&paths.policies)?;
    let mut names = Vec::new();
    for file in files {
        let name = file_name(file)?;
        sources.retain(|source| source.name != name);
        sources.push(policies::source(file, &name)?);
        names.push(stem(&name));
    }
    let purposes = policies::purposes(&paths.purposes)?;
    let rules = RuleSet::compile(&sources, &registry.groups(), &purposes)
        .map_err(|found| refused(&found, output))?;
    let shown = rules
        .policies()
        .filter(|policy| names.is_empty() || names.contains(&policy.name))
        .collect::<Vec<_>>();
    let result = json!({
        "ok": true,
        "set": hex::encode(rules.hash()),
        "policies": shown.iter().map(|policy| described(policy)).collect::<Vec<_>>(),
    });
    output.result(&result, |_| {
        if shown.is_empty() {
            return "There are no policies: no dataset is offered to anybody.".to_owned();
        }
        shown.iter().map(|policy| text(policy)).collect::<Vec<_>>().join("\n\n")
    });
    Ok(())
}

/// A finding as JSON.
pub(super) fn finding(finding: &Diagnostic) -> Value {
    json!({
        "file": finding.file, "line": finding.line, "column": finding.column,
        "message": finding.message, "help": finding.help,
    })
}

fn refused(found: &[Diagnostic], output: Output) -> Failure {
    let findings = found.iter().map(finding).collect::<Vec<_>>();
    output.event(&json!({ "ok": false, "problems": findings }));
    let texts = found.iter().map(ToString::to_string).collect::<Vec<_>>();
    Failure::misuse(format!("the policies are refused\n{}", texts.join("\n\n")))
}

fn file_name(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Failure::misuse(format!("`{}` is not the name of a policy file", file.display()))
    })
}

fn stem(name: &str) -> String {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

fn described(policy: &CompiledPolicy) -> Value {
    let clauses = policy.clauses.iter().map(|clause| {
        json!({
            "place": clause.place, "clause": clause.clause,
            "class": clause.class.to_string(), "note": clause.note,
        })
    });
    json!({
        "name": policy.name,
        "title": policy.title,
        "hash": hex::encode(policy.hash),
        "text": plain(&policy.template, Language::English),
        "clauses": clauses.collect::<Vec<_>>(),
    })
}

fn text(policy: &CompiledPolicy) -> String {
    let mut text = format!("{}: {}\n", policy.name, policy.title);
    for line in plain(&policy.template, Language::English).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("How far each clause is honoured:\n");
    for clause in &policy.clauses {
        text.push_str(&format!(
            "  {}: {} ({}; {})\n",
            clause.place, clause.clause, clause.class, clause.note
        ));
    }
    text.trim_end().to_owned()
}
