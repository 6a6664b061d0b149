//! The demonstration: three companies exchange data as the Ouranos Ecosystem's automotive and battery traceability does, with
//! real daemons on loopback. Each step checks what it says; the first that does not hold ends the run with an error.

mod cast;
mod large;
mod tamper;
mod tell;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration_tests::narration::line;
use serde_json::Value;

use cast::Cast;
use tell::{chapter, shows};

const REPORTING: &str = "cfp-reporting";

fn main() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line(format!("\nThe demonstration FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<()> {
    line(
        "Sekisho (関所): three companies' nodes on this machine, real processes over mutual TLS on loopback.",
    );
    let mut cast = Cast::assemble()?;
    publish(&cast)?;
    pull(&cast)?;
    refuse(&cast)?;
    large::survives_kills(&mut cast)?;
    large::is_cut_by_suspension(&mut cast)?;
    tamper::is_detected(&mut cast)?;
    cast.leave()?;
    line("\nEverything did what it says. Nothing is left running.");
    Ok(())
}

fn publish(cast: &Cast) -> Result<()> {
    chapter("B社 publishes the carbon footprint of 部品B, and a certificate");
    for (file, id, title, policy) in [
        ("cfp-part-b.json", "cfp-part-b", "部品B modelB: CFP with DQR values", "cfp"),
        ("cfp-certificate-part-b.txt", "cfp-certificate-part-b", "部品B: CFP算定証明書", "oem"),
    ] {
        let path = cast.material(file)?;
        let words = [
            "dataset", "publish", &path, "--id", id, "--title", title, "--policy", policy, "--yes",
        ];
        let answer = cast.supplier.ask(&words)?;
        let size = answer.pointer("/dataset/size").and_then(Value::as_u64);
        shows("B社", &format!("published `{id}` under the policy `{policy}`"), size.is_some())?;
    }
    Ok(())
}

fn pull(cast: &Cast) -> Result<()> {
    chapter("A社, its customer, pulls both for the purpose cfp-reporting");
    let seen = cast.catalog(&cast.customer)?;
    shows("A社", &format!("sees {}", seen.join(" and ")), seen.len() == 2)?;
    for (id, name) in [("cfp-part-b", "cfp.json"), ("cfp-certificate-part-b", "certificate.txt")] {
        let target = cast.scene.file(name);
        let taken = cast.pull(&cast.customer, id, &target, REPORTING)?.expect(0)?;
        let sha256 = taken.text("/delivered/sha256")?;
        shows(
            "A社",
            &format!("received `{id}`, SHA-256 {}…", sha256.get(..16).unwrap_or("")),
            true,
        )?;
        let verified = cast.verify_offline(&target)?;
        shows(
            "anyone",
            "verifies FILE and FILE.prov offline, with B社's card only",
            verified.code == Some(0),
        )?;
    }
    let cfp: Value = serde_json::from_slice(&std::fs::read(cast.scene.file("cfp.json"))?)?;
    let emission = |kind: &str| {
        let entries = cfp.as_array().into_iter().flatten();
        let mut found =
            entries.filter(|entry| entry.get("cfpType").and_then(Value::as_str) == Some(kind));
        found.next().and_then(|entry| entry.get("ghgEmission")?.as_f64())
    };
    let (before, main) = (emission("preProduction"), emission("mainProduction"));
    let said = format!("reads {before:?} + {main:?} kgCO2e/kilogram for 部品B");
    shows("A社", &said.replace("Some(", "").replace(')', ""), before.is_some() && main.is_some())
}

fn refuse(cast: &Cast) -> Result<()> {
    chapter("C社 sees one offer, and cannot tell the other from one that does not exist");
    let seen = cast.catalog(&cast.stranger)?;
    shows("C社", &format!("sees {}", seen.join(" and ")), seen == ["cfp-part-b"])?;

    let target = cast.scene.file("c-cfp.json");
    let refused = cast.pull(&cast.stranger, "cfp-part-b", &target, "marketing")?;
    let message = refused.text("/error/message")?;
    let reference = refused.text("/error/reference")?;
    shows(
        "C社",
        "asks for it with the purpose `marketing` and is refused:",
        refused.code == Some(77),
    )?;
    line(format!("            {message}"));
    ensure!(message.contains("purpose"), "the refusal does not name the clause");

    let records = cast.supplier.ask(&["audit", "show", "--reference", &reference])?;
    let reason = records.pointer("/records/0/account/reason").and_then(Value::as_str);
    shows(
        "B社",
        &format!("finds the full reason in its journal under {reference}"),
        reason.is_some(),
    )?;

    let mut answers = Vec::new();
    for id in ["cfp-certificate-part-b", "no-such-dataset-here-1"] {
        let refused = cast.pull(&cast.stranger, id, &target, REPORTING)?;
        let message = refused.text("/error/message")?.replace(id, "…");
        shows("C社", &format!("asks for `{id}`: {message}"), refused.code != Some(0))?;
        answers.push((refused.code, message));
    }
    let [hidden, missing] = answers.as_slice() else { anyhow::bail!("two answers were expected") };
    shows(
        "C社",
        "got the same answer to what is hidden and to what does not exist",
        hidden == missing,
    )?;
    ensure!(!target.exists(), "a refused pull left a file");
    Ok(())
}
