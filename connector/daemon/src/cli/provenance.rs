//! `sekisho provenance`: evidence verified offline, with trust anchors only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use certs::x509::Certificate;
use jiff::Timestamp;
use provenance::{Bundle, Digests, Expected, Report, Trust, digest_reader};
use serde_json::{Value, json};

use super::arguments::{Provenance, ProvenanceVerify};
use super::dataset::byte_bar;
use super::failure::Failure;
use super::output::{Output, fields};
use crate::exit::Exit;
use crate::partners::Registry;
use crate::site;

/// Runs one of the commands; none asks the daemon.
pub(super) fn run(
    directory: &Path,
    command: &Provenance,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    match command {
        Provenance::Verify(arguments) => verify(directory, arguments, output, now),
        Provenance::Show { file } => show(file, output),
    }
}

/// One set of anchors, and the participant that it may speak for; any where it was given by hand.
struct Anchors {
    certificates: Vec<Certificate>,
    provider: Option<String>,
}

fn verify(
    directory: &Path,
    arguments: &ProvenanceVerify,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let path = arguments.provenance.clone().unwrap_or_else(|| evidence_of(&arguments.file));
    let bundle = read_bundle(&path)?;
    let digests = digests(&arguments.file, output)?;
    let anchors = anchors(directory, arguments, now)?;
    if anchors.is_empty() {
        return Err(Failure::misuse("there is nobody to trust")
            .help("give the authority's certificates with `--anchor`, the partner's card with `--card`, or a site with `--site`"));
    }
    let report = best(&bundle, &anchors, &digests, now);
    let verified = report.is_verified();
    let value = json!({ "verified": verified, "report": report });
    output.result(&value, |_| text(&arguments.file, &report));
    if verified {
        return Ok(());
    }
    let reason = report
        .failure()
        .map_or_else(|| "not every check could be made".to_owned(), ToString::to_string);
    Err(Failure::new(
        Exit::NotVerified,
        format!("`{}` does not verify: {reason}", arguments.file.display()),
    )
    .help("ask the provider; do not use the file as what it is said to be"))
}

/// The report of the anchors that verify it, or of those that come furthest.
fn best(bundle: &Bundle, anchors: &[Anchors], digests: &Digests, now: Timestamp) -> Report {
    let verify = |anchors: &Anchors| {
        let trust = Trust { anchors: &anchors.certificates, registered: None };
        let expected = Expected { provider: anchors.provider.as_deref(), ..Expected::default() };
        provenance::verify(bundle, trust, Some(digests), &expected, now)
    };
    let none = Anchors { certificates: Vec::new(), provider: None };
    let mut best: Option<Report> = None;
    for candidate in anchors {
        let report = verify(candidate);
        if report.is_verified() {
            return report;
        }
        let fewer =
            best.as_ref().is_none_or(|best| report.failures().count() < best.failures().count());
        if fewer {
            best = Some(report);
        }
    }
    best.unwrap_or_else(|| verify(&none))
}

/// The anchors given, or those of the site: its own, and each partner's for that partner only.
fn anchors(
    directory: &Path,
    arguments: &ProvenanceVerify,
    now: Timestamp,
) -> Result<Vec<Anchors>, Failure> {
    let mut anchors = Vec::new();
    for path in &arguments.anchors {
        let certificates = Certificate::bundle(&read(path)?)
            .map_err(|error| Failure::misuse(format!("`{}`: {error}", path.display())))?;
        anchors.push(Anchors { certificates, provider: None });
    }
    for path in &arguments.cards {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let opened = certs::card::open(text.trim(), now).map_err(|error| {
            Failure::misuse(format!("`{}`: {}", path.display(), site::chain(&error)))
        })?;
        let certificates = Certificate::bundle(opened.card.signing_anchors.as_bytes())
            .map_err(|error| Failure::misuse(format!("`{}`: {error}", path.display())))?;
        anchors.push(Anchors { certificates, provider: Some(opened.card.participant) });
    }
    if !anchors.is_empty() {
        return Ok(anchors);
    }
    let Ok((config, paths)) = super::locate(directory) else { return Ok(anchors) };
    let (registry, _) = Registry::load_usable(&paths.partners);
    anchors.extend(registry.iter().map(|partner| Anchors {
        certificates: partner.signing_anchors.clone(),
        provider: Some(partner.partner.participant.to_string()),
    }));
    if let Ok(pki) = site::load_pki(&paths, &config, now) {
        anchors.push(Anchors {
            certificates: vec![pki.signing.anchor().clone()],
            provider: Some(config.site.participant.to_string()),
        });
    }
    Ok(anchors)
}

/// What the evidence of a file says, its signature checked by the certificate that it carries and no more.
pub(super) fn claims(file: &Path) -> Result<provenance::Claims, Failure> {
    Ok(open(file)?.2)
}

fn open(file: &Path) -> Result<(Bundle, Vec<Certificate>, provenance::Claims), Failure> {
    let path = if file.extension().is_some_and(|ending| ending == "prov") {
        file.to_owned()
    } else {
        evidence_of(file)
    };
    let bundle = read_bundle(&path)?;
    let token = provenance::Token::parse(bundle.token())
        .map_err(|error| Failure::new(Exit::NotVerified, site::chain(&error)))?;
    let chain = token.chain().to_vec();
    let key = chain.first().and_then(|leaf| leaf.verifying_key().ok()).ok_or_else(|| {
        Failure::new(Exit::NotVerified, "the token carries no usable certificate")
    })?;
    let claims =
        token.verify(&key).map_err(|error| Failure::new(Exit::NotVerified, site::chain(&error)))?;
    Ok((bundle, chain, claims))
}

fn show(file: &Path, output: Output) -> Result<(), Failure> {
    let (bundle, chain, claims) = open(file)?;
    let chain: Vec<Value> = chain
        .iter()
        .map(|certificate| {
            json!({ "subject": certificate.subject(), "issuer": certificate.issuer(), "until": certificate.not_after() })
        })
        .collect();
    let leaf: Value = serde_json::from_str(bundle.leaf()).unwrap_or_default();
    let value = json!({
        "claims": claims,
        "chain": chain,
        "log": { "index": bundle.index(), "leaf": leaf, "checkpoint": bundle.checkpoint() },
    });
    output.result(&value, |value| {
        format!(
            "{}\nNothing of this was verified: `sekisho provenance verify` does that.",
            fields(value)
        )
    });
    Ok(())
}

fn text(file: &Path, report: &Report) -> String {
    let mut text = String::new();
    if let Some(claims) = &report.claims {
        text.push_str(&claims.to_string());
        text.push('\n');
    }
    for finding in &report.checks {
        text.push_str(&format!("  {finding}\n"));
    }
    let verdict = if report.is_verified() { "is verified" } else { "is NOT verified" };
    text.push_str(&format!("`{}` {verdict}, judged as of {}.", file.display(), report.judged_at));
    text
}

fn digests(file: &Path, output: Output) -> Result<Digests, Failure> {
    let opened = File::open(file).map_err(|error| {
        Failure::misuse(format!("`{}` cannot be read: {error}", file.display()))
    })?;
    let bar = byte_bar(output);
    if let Ok(metadata) = opened.metadata() {
        bar.set_length(metadata.len());
    }
    let digests = digest_reader(opened, |done| bar.set_position(done));
    bar.finish_and_clear();
    digests
        .map_err(|error| Failure::misuse(format!("`{}` cannot be read: {error}", file.display())))
}

fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    Bundle::parse(&read(path)?).map_err(|error| {
        let text =
            format!("`{}`: {} is damaged: {}", path.display(), error.part(), site::chain(&error));
        Failure::new(Exit::NotVerified, text)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path)
        .map_err(|error| Failure::misuse(format!("`{}` cannot be read: {error}", path.display())))
}

/// `FILE.prov` beside `FILE`.
fn evidence_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".prov");
    PathBuf::from(name)
}
