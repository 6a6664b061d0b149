//! What is changed afterwards is found, and named.

use std::path::Path;

use anyhow::{Context as _, Result};
use integration_tests::command::Outcome;
use integration_tests::files;
use integration_tests::narration::line;
use serde_json::Value;

use crate::cast::Cast;
use crate::tell::{chapter, shows};

/// A file, a token and a journal are changed by one byte each.
pub(crate) fn is_detected(cast: &mut Cast) -> Result<()> {
    chapter("One changed byte in a file, a token or a journal is detected");
    let file = cast.scene.file("cfp.json");
    let evidence = cast.scene.file("cfp.json.prov");
    let changed = cast.scene.file("changed.json");
    std::fs::copy(&file, &changed)?;
    std::fs::copy(&evidence, cast.scene.file("changed.json.prov"))?;
    files::flip(&changed, 100)?;
    told(&cast.verify_offline(&changed)?, "the file was changed")?;

    std::fs::copy(&file, &changed)?;
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(&evidence)?)?;
    let token = bundle.get_mut("token").context("the evidence has no token")?;
    let text = token.as_str().context("the token is no text")?;
    *token = Value::String(files::with_other_letter(text));
    let text = format!("{}\n", serde_json::to_string_pretty(&bundle)?);
    std::fs::write(cast.scene.file("changed.json.prov"), text)?;
    told(&cast.verify_offline(&changed)?, "the token was changed")?;

    let report = cast.supplier.ask(&["audit", "verify"])?;
    let verified = report.pointer("/report/verified").or_else(|| report.get("verified"));
    shows(
        "B社",
        "verifies its whole journal: every frame, record, tree and checkpoint",
        verified == Some(&Value::Bool(true)),
    )?;
    cast.supplier.stop()?;
    let segment = cast.supplier.path("data/journal/00000000000000000000.seg");
    let place = written(&segment)? / 3;
    files::flip(&segment, place)?;
    let refused = cast.supplier.run(&["serve"])?;
    shows("B社", "does not start on a journal that somebody changed:", refused.code != Some(0))?;
    line(format!("            {}", refused.text("/error/message")?));
    files::flip(&segment, place)?;
    cast.supplier.start()?;
    shows("B社", "starts again once the byte is what it was", true)
}

fn told(outcome: &Outcome, what: &str) -> Result<()> {
    shows("anyone", &format!("sees that {what}:"), outcome.code == Some(65))?;
    line(format!("            {}", outcome.text("/error/message")?));
    Ok(())
}

/// How much of a segment was written; the rest is zeros.
fn written(segment: &Path) -> Result<u64> {
    let bytes = std::fs::read(segment)?;
    let last = bytes.iter().rposition(|byte| *byte != 0).context("an empty segment")?;
    Ok(u64::try_from(last)?)
}
