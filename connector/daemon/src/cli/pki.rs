//! `sekisho pki`.

use std::fs;
use std::path::Path;

use certs::pki::{self, Installed, Role, SitePki};
use certs::x509::Certificate;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::arguments::Pki;
use super::failure::Failure;
use super::output::{Output, fields};

pub(super) fn run(
    site: &Path,
    command: &Pki,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let (config, paths) = super::locate(site)?;
    match command {
        Pki::Requests => requests(&paths.pki, output),
        Pki::Install { files } => {
            let answers = files
                .iter()
                .map(|file| {
                    let refused = |error| {
                        Failure::misuse(format!("`{}` cannot be read: {error}", file.display()))
                    };
                    fs::read(file).map_err(refused)
                })
                .collect::<Result<Vec<_>, _>>()?;
            installed(&pki::install(&paths.pki, &answers, now)?, output);
            Ok(())
        }
        Pki::Show => {
            let pki = crate::site::load_pki(&paths, &config, now)?;
            output.result(&shown(&pki), fields);
            Ok(())
        }
        Pki::Renew => {
            installed(&pki::renew_trial(&paths.pki, now)?, output);
            Ok(())
        }
    }
}

fn requests(directory: &Path, output: Output) -> Result<(), Failure> {
    let mut requests = serde_json::Map::new();
    let mut texts = Vec::new();
    for role in Role::ALL {
        let path = directory.join(format!("{role}.csr"));
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::misuse(format!("`{}` cannot be read: {error}", path.display())).help(
                "a site with a trial authority has no requests; make one with `sekisho init --csr`",
            )
        })?;
        requests.insert(role.to_string(), json!({ "file": path, "pem": text }));
        texts.push(format!("# {role}: {}\n{}", path.display(), text.trim_end()));
    }
    output.result(&json!({ "requests": requests }), |_| texts.join("\n"));
    output.note(
        "The server's needs the extended key usage serverAuth, the client's clientAuth; each must keep its alternative names.",
    );
    Ok(())
}

fn installed(installed: &Installed, output: Output) {
    let result = json!({
        "installed": installed.leaves.iter().map(Certificate::subject).collect::<Vec<_>>(),
        "valid_until": installed.valid_until,
    });
    output.result(&result, |_| {
        format!(
            "Installed; valid until {}. A running daemon takes them by itself.",
            installed.valid_until
        )
    });
}

fn shown(pki: &SitePki) -> Value {
    let leaf = |certificate: &Certificate, valid_until: Timestamp| {
        json!({
            "subject": certificate.subject(),
            "issuer": certificate.issuer(),
            "uris": certificate.uris(),
            "dns_names": certificate.dns_names(),
            "addresses": certificate.addresses(),
            "valid_until": valid_until,
            "sha256": hex::encode(certificate.sha256()),
            "pin": hex::encode(certificate.spki_sha256()),
        })
    };
    let chain = pki.signing.chain();
    let signing = chain.first().map(|signing| leaf(signing, pki.signing.valid_until()));
    json!({
        "participant": pki.identity.participant(),
        "fingerprint": certs::card::Fingerprint::of(&pki.signing.key().verifying_key()).to_string().replace('\n', " "),
        "trial": pki.trial,
        "signing": signing,
        "server": leaf(pki.server.leaf(), pki.server.valid_until()),
        "client": leaf(pki.client.leaf(), pki.client.valid_until()),
    })
}
