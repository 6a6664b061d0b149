//! The command line's tree, and the commands that need no daemon.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::cli::arguments::Init;

fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(arguments)
}

#[test]
fn the_tree_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_and_argument_is_explained() {
    fn walk(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} of {}",
                argument.get_id(),
                command.get_name()
            );
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Arguments::command());
}

#[test]
fn exit_codes_are_distinct_and_known_kinds_have_one() {
    let codes = Exit::ALL.map(Exit::code);
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
    for (kind, exit) in [
        ("policy", Exit::RefusedByPolicy),
        ("suspended", Exit::RefusedIdentity),
        ("not-found", Exit::NotFound),
        ("not-reachable", Exit::NotReachable),
        ("unavailable", Exit::TryAgain),
        ("something-new", Exit::Internal),
    ] {
        assert_eq!(Exit::of_kind(kind), exit, "{kind}");
    }
}

#[test]
fn init_needs_a_choice_of_certificates() {
    let base = ["sekisho", "init", "x", "--participant", "did:web:a", "--name", "A", "--dns", "a"];
    assert!(parse(&base).is_err());
    assert!(parse(&[&base[..], &["--trial-ca"]].concat()).is_ok());
    assert!(parse(&[&base[..], &["--csr"]].concat()).is_ok());
    assert!(parse(&[&base[..], &["--csr", "--trial-ca"]].concat()).is_err());
}

#[test]
fn values_that_begin_with_a_hyphen_are_values() {
    assert!(parse(&["sekisho", "catalog", "b", "--cursor", "-5xy"]).is_ok());
    assert!(parse(&["sekisho", "pulls", "list", "--order", "-since"]).is_ok());
    assert!(parse(&["sekisho", "catalog", "b", "--limt", "2"]).is_err());
}

fn init(directory: PathBuf, trial: bool) -> Init {
    Init {
        directory,
        participant: "did:web:a.example".parse().unwrap(),
        name: "A \"quoted\" 社".to_owned(),
        dns_names: vec!["a.example".to_owned()],
        addresses: vec!["127.0.0.1".parse().unwrap()],
        trial_ca: trial,
        csr: !trial,
        port: 9443,
        bind: "127.0.0.1".parse().unwrap(),
        public_url: None,
        status_bind: "127.0.0.1:0".parse().unwrap(),
        operator_id: Some("op-1".to_owned()),
    }
}

fn quiet() -> Output {
    Output::new(false)
}

#[test]
fn a_site_made_by_init_checks() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("a");
    let now = Timestamp::now();
    init::run(&init(site.clone(), true), quiet(), now).unwrap();
    let opened = crate::site::Site::open(&site, [], now).unwrap();
    assert_eq!(opened.config.site.name, "A \"quoted\" 社");
    assert_eq!(opened.config.partner_listener.public_url.as_str(), "https://a.example:9443");
    assert_eq!(opened.config.partner_listener.bind, ["127.0.0.1:9443".parse().unwrap()]);
    check::run(&site, quiet(), now).unwrap();
    let again = init::run(&init(site.clone(), true), quiet(), now).unwrap_err();
    assert_eq!(again.exit, Exit::Misuse);
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left behind");
}

#[test]
fn the_example_policy_is_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("a");
    let now = Timestamp::now();
    init::run(&init(site.clone(), true), quiet(), now).unwrap();
    let example = site.join("policies/customers.toml.example");
    let source = crate::policies::source(&example, "customers.toml").unwrap();
    // The group that it names comes from partners' files.
    let groups = ::policy::set::Groups::from([("customers".to_owned(), BTreeSet::new())]);
    let rules =
        ::policy::set::RuleSet::compile(&[source], &groups, &::policy::set::Purposes::default());
    assert_eq!(rules.unwrap().policies().count(), 1);
}

#[test]
fn a_site_with_requests_waits_for_its_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("a");
    let now = Timestamp::now();
    init::run(&init(site.clone(), false), quiet(), now).unwrap();
    let failure = check::run(&site, quiet(), now).unwrap_err();
    assert!(failure.message.contains("sekisho pki install"), "{failure}");
    assert_eq!(failure.exit, Exit::Misuse);
    pki::run(&site, &arguments::Pki::Requests, quiet(), now).unwrap();
}

#[test]
fn cards_count_up_and_open() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("a");
    let now = Timestamp::now();
    init::run(&init(site.clone(), true), quiet(), now).unwrap();
    for number in 1..=3 {
        let file = directory.path().join("a.card");
        partner::card(&site, Some(&file), quiet(), now).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let opened = certs::card::open(&text, now).unwrap();
        assert_eq!(opened.card.number, number);
        assert_eq!(opened.card.endpoint, "https://a.example:9443/dsp/2025-1");
        assert_eq!(opened.card.ods.unwrap().operator_id, "op-1");
    }
}

#[test]
fn tables_align_and_peers_cannot_steer_the_terminal() {
    let list = json!([{ "id": "a", "title": "one\u{1b}[2J" }, { "id": "long-id", "title": null }]);
    let text = output::table(&["ID", "TITLE"], &output::rows(Some(&list), &["id", "title"]));
    assert_eq!(text, "ID       TITLE\na        one\u{fffd}[2J\nlong-id  -");
}
