//! Opening a site: what is right, and everything that is wrong.

use std::fs::{self, Permissions};

use certs::pki::{self, Identity};
use tempfile::TempDir;

use super::*;

const CONFIG: &str = "[site]\nparticipant = \"did:web:a.example\"\nname = \"A\"\n\
                      [partner_listener]\npublic_url = \"https://a.example:8443\"\n";

fn site(participant: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for name in ["partners", "policies"] {
        fs::create_dir(path.join(name)).unwrap();
    }
    fs::write(path.join("sekisho.toml"), CONFIG).unwrap();
    let identity = Identity::new(participant, "A", &["a.example".to_owned()], &[]).unwrap();
    pki::create_with_trial_ca(&path.join("pki"), &identity, Timestamp::now()).unwrap();
    directory
}

fn open(directory: &TempDir) -> Result<Site, SiteError> {
    Site::open(directory.path(), [], Timestamp::now())
}

#[test]
fn a_new_site_opens() {
    let directory = site("did:web:a.example");
    let site = open(&directory).unwrap();
    assert_eq!(site.pki.identity.participant(), "did:web:a.example");
    assert_eq!(site.paths.socket, directory.path().join("sekisho.sock"));
    assert_eq!(site.rules.policies().count(), 0);
}

#[test]
fn keys_of_another_participant_are_refused() {
    let error = open(&site("did:web:other.example")).unwrap_err().to_string();
    assert!(error.contains("the keys are for `did:web:other.example`"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_reported() {
    let directory = site("did:web:a.example");
    let path = directory.path();
    fs::write(path.join("partners/b.toml"), "id = 1").unwrap();
    fs::write(path.join("purposes.toml"), "[a]\npart-of = [\"b\"]\n").unwrap();
    fs::set_permissions(path.join("policies"), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(path.join("pki/server.key"), Permissions::from_mode(0o644)).unwrap();
    let error = open(&directory).unwrap_err().to_string();
    for part in ["b.toml:1:6", "purpose `a` is part of `b`", "chmod o-w", "server.key"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn a_directory_that_is_no_site_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&directory).unwrap_err().to_string();
    assert!(error.contains("sekisho init"), "{error}");
}
