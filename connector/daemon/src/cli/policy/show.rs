//! `sekisho policy show`.

use policy::explain::{Language, document};
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
        "odrl": odrl(policy),
        "text": text,
        "file": rules.text(&policy.file),
    });
    output.result(&result, |_| match form {
        Form::Text => text,
        Form::Odrl => format!("{:#}", odrl(policy)),
        Form::File => rules.text(&policy.file).to_owned(),
    });
    Ok(())
}

/// The policy as an ODRL Set that stands by itself.
fn odrl(policy: &policy::set::CompiledPolicy) -> serde_json::Value {
    let mut document = json!({
        "@context": "http://www.w3.org/ns/odrl.jsonld",
        "uid": format!("urn:sekisho:policy:{}", hex::encode(policy.hash)),
        "dct:title": policy.title,
    });
    if let (Some(members), serde_json::Value::Object(terms)) =
        (document.as_object_mut(), policy.template.to_json_ld())
    {
        members.extend(terms);
    }
    document
}
