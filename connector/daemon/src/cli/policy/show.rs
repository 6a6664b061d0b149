//! `sekisho policy show`.

use policy::explain::{Language, document};
use policy::file::export;
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::arguments::Form;
use super::{Desk, policy_named};

pub(super) fn run(
    desk: &Desk,
    name: &str,
    form: Form,
    language: Language,
    draft: bool,
    output: Output,
) -> Result<(), Failure> {
    let rules = if draft { desk.filed(output)? } else { desk.in_force(None, output)?.0.rules };
    let policy = policy_named(&rules, name)?;
    let text = document(policy, language);
    let result = json!({
        "name": policy.name,
        "title": policy.title,
        "sha256": hex::encode(policy.hash),
        "priority": policy.priority,
        "odrl": export(policy),
        "text": text,
        "file": rules.text(&policy.file),
    });
    output.result(&result, |_| match form {
        Form::Text => text,
        Form::Odrl => format!("{:#}", export(policy)),
        Form::File => rules.text(&policy.file).to_owned(),
    });
    Ok(())
}
