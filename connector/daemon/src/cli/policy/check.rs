//! `sekisho policy check`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policy::diagnostic::Severity;
use policy::explain::{Language, clause, plain};
use policy::inquiry::Site;
use policy::lint::{Finding, Options, lint};
use policy::set::{CompiledPolicy, RuleSet};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::output::Output;
use super::{Desk, finding, refused};
use crate::policies;
use crate::policies::facts;

pub(super) fn run(
    desk: &Desk,
    files: &[PathBuf],
    strict: bool,
    language: Language,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let registry = desk.registry()?;
    let mut sources = policies::sources(&desk.paths.policies)?;
    let mut names = Vec::new();
    for file in files {
        let name = file_name(file)?;
        sources.retain(|source| source.name != name);
        sources.push(policies::source(file, &name)?);
        names.push(name);
    }
    let purposes = policies::purposes(&desk.paths.purposes)?;
    let unhonoured = desk.paths.unhonoured;
    let rules = RuleSet::compile_with(&sources, &registry.groups(), &purposes, unhonoured)
        .map_err(|found| refused(&found, output))?;
    let known = desk.facts(&[])?.map(|facts| facts.into_site().datasets);
    let options = Options { now, knows_datasets: known.is_some() };
    let site =
        Site { rules, partners: facts::partners(&registry), datasets: known.unwrap_or_default() };
    let is_asked = |file: &str| names.is_empty() || names.iter().any(|name| name == file);
    let findings: Vec<Finding> = (lint(&site, options).into_iter())
        .filter(|finding| is_asked(&finding.diagnostic.file))
        .collect();
    let shown = site.rules.policies().filter(|policy| is_asked(&policy.file)).collect::<Vec<_>>();
    let warnings =
        findings.iter().filter(|finding| finding.diagnostic.severity >= Severity::Warning).count();
    let not_read =
        if files.is_empty() { policies::not_read(&desk.paths.policies)? } else { Vec::new() };
    let result = json!({
        "ok": warnings == 0 || !strict,
        "set": hex::encode(site.rules.hash()),
        "policies": shown.iter().map(|policy| described(policy, language)).collect::<Vec<_>>(),
        "restrictions": site.rules.restrictions().list.len(),
        "findings": findings.iter().map(|found| linted(found, language)).collect::<Vec<_>>(),
        "not_read": not_read,
        "datasets_known": options.knows_datasets,
    });
    output.result(&result, |_| {
        let mut parts = shown.iter().map(|policy| text(policy, language)).collect::<Vec<_>>();
        if shown.is_empty() {
            parts.push(nothing(language).to_owned());
        }
        parts.extend(findings.iter().map(|finding| finding.text(language)));
        if !not_read.is_empty() {
            parts.push(left_out(&not_read, language));
        }
        parts.push(summary(warnings, findings.len(), language));
        parts.join("\n\n")
    });
    if strict && warnings > 0 {
        return Err(Failure::misuse(format!(
            "there are warnings ({warnings}), and --strict was given"
        )));
    }
    Ok(())
}

const fn nothing(language: Language) -> &'static str {
    match language {
        Language::Japanese => "ポリシーがないため、どのデータセットも誰にも提供されません。",
        _ => "There are no policies: no dataset is offered to anybody.",
    }
}

fn left_out(files: &[String], language: Language) -> String {
    let files = files.join(", ");
    match language {
        Language::Japanese => format!(
            "名前が .toml または .jsonld で終わらないか、ディレクトリであるため、読み込まなかったもの: {files}"
        ),
        _ => format!(
            "Not read, since they are not named .toml or .jsonld or are directories: {files}."
        ),
    }
}

fn summary(warnings: usize, all: usize, language: Language) -> String {
    match (language, all) {
        (Language::Japanese, 0) => "誤りと思われる箇所は見つかりませんでした。".to_owned(),
        (Language::Japanese, all) => format!("指摘は {all} 件で、うち警告は {warnings} 件です。"),
        (_, 0) => "Nothing was found that is most likely a mistake.".to_owned(),
        (_, all) => format!("{warnings} of {all} findings are warnings."),
    }
}

fn linted(linted: &Finding, language: Language) -> Value {
    let mut shown = finding(&linted.said(language));
    if let Some(members) = shown.as_object_mut() {
        members.insert("code".to_owned(), json!(linted.code));
    }
    shown
}

fn file_name(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Failure::misuse(format!("`{}` is not the name of a policy file", file.display()))
    })
}

fn described(policy: &CompiledPolicy, language: Language) -> Value {
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
        "text": plain(&policy.template, language),
        "clauses": clauses.collect::<Vec<_>>(),
    })
}

fn text(policy: &CompiledPolicy, language: Language) -> String {
    let mut text = format!("{}: {}\n", policy.name, policy.title);
    for line in plain(&policy.template, language).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(match language {
        Language::Japanese => "各条項の実効性:\n",
        _ => "How far each clause is honoured:\n",
    });
    for report in &policy.clauses {
        text.push_str(&format!("  {}\n", clause(report, language)));
    }
    text.trim_end().to_owned()
}
