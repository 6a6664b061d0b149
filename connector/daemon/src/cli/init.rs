//! `sekisho init`.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use certs::pki::{self, Identity};
use jiff::Timestamp;
use serde_json::json;

use super::arguments::Init;
use super::failure::Failure;
use super::output::Output;
use crate::config::{self, Config, PublicUrl};

/// A policy to copy from; its ending keeps it from being loaded.
const EXAMPLE_POLICY: &str = include_str!("init/example-policy.toml");

/// Makes the site's directory, whole or not at all.
pub(super) fn run(arguments: &Init, output: Output, now: Timestamp) -> Result<(), Failure> {
    let directory = &arguments.directory;
    refuse_occupied(directory)?;
    let identity = identity(arguments)?;
    let public_url = public_url(arguments)?;
    let text = configuration(arguments, &public_url);
    let path = directory.join(config::FILE_NAME);
    // What is written must be what we would read.
    Config::parse(&path, &text, [])?;

    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let failed = |error: io::Error| Failure::write(directory, &error);
    let new =
        tempfile::Builder::new().prefix(".sekisho-init-").tempdir_in(&parent).map_err(failed)?;
    fill(new.path(), &text).map_err(failed)?;
    let pki = new.path().join("pki");
    if arguments.trial_ca {
        pki::create_with_trial_ca(&pki, &identity, now)?;
    } else {
        pki::create_with_requests(&pki, &identity)?;
    }
    fs::set_permissions(new.path(), Permissions::from_mode(0o750)).map_err(failed)?;
    // Takes the place of an empty directory, and of nothing else.
    fs::rename(new.path(), directory).map_err(failed)?;
    let _gone = new.keep();
    fs::File::open(&parent).and_then(|parent| parent.sync_all()).map_err(failed)?;

    let result = json!({
        "site": directory,
        "participant": arguments.participant,
        "public_url": public_url,
        "certificates": if arguments.trial_ca { "trial" } else { "requested" },
    });
    output.result(&result, |_| next_steps(arguments));
    Ok(())
}

fn refuse_occupied(directory: &Path) -> Result<(), Failure> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::misuse(format!("`{}` is not empty", directory.display()))
                .help("give a directory that does not exist yet; a site is never overwritten")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::write(directory, &error)),
    }
}

fn identity(arguments: &Init) -> Result<Identity, Failure> {
    if arguments.dns_names.is_empty() && arguments.addresses.is_empty() {
        return Err(Failure::misuse("partners need a name or an address to reach the site")
            .help("give `--dns NAME`, or `--ip ADDRESS`, as partners will dial it"));
    }
    let identity = Identity::new(
        arguments.participant.as_str(),
        &arguments.name,
        &arguments.dns_names,
        &arguments.addresses,
    )?;
    Ok(identity)
}

fn public_url(arguments: &Init) -> Result<PublicUrl, Failure> {
    if let Some(url) = &arguments.public_url {
        return Ok(url.clone());
    }
    let address = arguments
        .addresses
        .first()
        .map(|address| SocketAddr::new(*address, arguments.port).to_string());
    let name = arguments.dns_names.first().map(|name| format!("{name}:{}", arguments.port));
    let host = name.or(address).unwrap_or_default();
    format!("https://{host}")
        .parse()
        .map_err(|error: config::AddressError| Failure::misuse(error.to_string()))
}

fn configuration(arguments: &Init, public_url: &PublicUrl) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let listed = |address: SocketAddr| format!("[{}]", quoted(&address.to_string()));
    let mut values = vec![
        ("site", "participant", quoted(arguments.participant.as_str())),
        ("site", "name", quoted(&arguments.name)),
        ("partner_listener", "public_url", quoted(public_url.as_str())),
        ("partner_listener", "bind", listed(SocketAddr::new(arguments.bind, arguments.port))),
        ("status_listener", "bind", listed(arguments.status_bind)),
    ];
    if let Some(operator) = &arguments.operator_id {
        values.push(("site", "operator_id", quoted(operator)));
    }
    config::reference_with(&values)
}

fn fill(directory: &Path, text: &str) -> io::Result<()> {
    for (name, mode) in [("partners", 0o755), ("policies", 0o755), ("data", 0o700)] {
        let path = directory.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    fs::write(directory.join("policies").join("customers.toml.example"), EXAMPLE_POLICY)?;
    let path = directory.join(config::FILE_NAME);
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o644))
}

fn next_steps(arguments: &Init) -> String {
    let site = arguments.directory.display();
    let certificates = if arguments.trial_ca {
        "  The certificates come from a trial authority, for evaluation only.\n".to_owned()
    } else {
        format!(
            "  Have your authority sign the requests:  sekisho --site {site} pki requests\n  \
             and install its answer:                 sekisho --site {site} pki install FILES\n"
        )
    };
    format!(
        "Made the site `{site}`.\n{certificates}\
         Next:\n  \
         sekisho --site {site} check\n  \
         sekisho --site {site} serve\n  \
         sekisho --site {site} partner card -o site.card    and give it to your partner\n\
         A policy to start from: {site}/policies/customers.toml.example (copy it to customers.toml)"
    )
}

#[cfg(test)]
mod tests;
