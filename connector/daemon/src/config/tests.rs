//! The reference file, and what an administrator is told.

use std::path::Path;

use super::*;

const MINIMAL: &str = r#"
[site]
participant = "did:web:a.example"
name = "A社"

[partner_listener]
public_url = "https://a.example:8443"
"#;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("sekisho.toml"), text, variables)
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    parse(text, variables).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_reference_file_is_a_valid_configuration() {
    let config = parse(REFERENCE, &[]).unwrap();
    assert_eq!(config.site.participant.as_str(), "did:web:site.example");
    assert_eq!(config.site.operator_id, None);
}

#[test]
fn the_reference_shows_every_default() {
    // With every default written out the configuration is the same as without: the shown values are the defaults. The
    // structs have none of their own, and refuse what they do not know, so every key of theirs is shown.
    let written = REFERENCE_KEYS.complete.as_str();
    assert_eq!(parse(written, &[]).unwrap(), parse(REFERENCE, &[]).unwrap());
    assert!(layer(&[written], &BTreeMap::new()).is_ok());
}

#[test]
fn waits_between_attempts_grow_and_keep_to_their_bounds() {
    let config = parse(MINIMAL, &[("SEKISHO__OUTBOUND__RETRY_MAXIMUM_MS", "4000")]).unwrap();
    let waits: Vec<_> = config.outbound.delays().take(20).collect();
    let (least, most) = (config.outbound.retry_minimum(), config.outbound.retry_maximum());
    assert_eq!(waits.len(), 20, "they do not end");
    assert!(waits.iter().all(|wait| (least..=most).contains(wait)), "{waits:?}");
    assert!(waits[10..].iter().all(|wait| *wait >= most / 2), "{waits:?}");
}

#[test]
fn each_key_of_the_reference_has_a_comment_before_it() {
    let mut commented = false;
    for line in REFERENCE.lines() {
        if key_of(line).is_some() {
            assert!(commented, "`{line}` has no comment");
        } else {
            commented = line.starts_with("# ");
        }
    }
}

#[test]
fn a_site_needs_to_say_little() {
    let config = parse(MINIMAL, &[]).unwrap();
    assert_eq!(config.partner_listener.public_url.as_str(), "https://a.example:8443");
    assert_eq!(config.partner_listener.max_body_bytes, 1024 * 1024);
    assert_eq!(config.management.socket_mode.bits(), 0o600);
    assert_eq!(config.clock.max_step().as_secs(), 60);
}

#[test]
fn the_environment_wins() {
    let config = parse(
        MINIMAL,
        &[
            ("SEKISHO__SITE__NAME", "0123"),
            ("SEKISHO__PARTNER_LISTENER__BIND", "127.0.0.1:0, [::1]:9"),
            ("SEKISHO__JOURNAL__SEGMENT_BYTES", "1048576"),
            ("SEKISHO_SITE", "/elsewhere"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.site.name, "0123");
    assert_eq!(config.partner_listener.bind.len(), 2);
    assert_eq!(config.journal.segment_bytes, 1024 * 1024);
}

#[test]
fn required_keys_may_come_from_the_environment() {
    let config = parse(
        "[site]\nname = \"A\"\n",
        &[
            ("SEKISHO__SITE__PARTICIPANT", "did:web:a"),
            ("SEKISHO__PARTNER_LISTENER__PUBLIC_URL", "https://a.example/"),
        ],
    )
    .unwrap();
    assert_eq!(config.partner_listener.public_url.as_str(), "https://a.example");
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_remedy() {
    let cases = [
        (
            "[partner_listener]\nmax_body_byte = 1",
            "sekisho.toml:9:1: `partner_listener.max_body_byte`: no such key; did you mean `max_body_bytes`?",
        ),
        (
            "[telemetry]\ndrain_seconds = 1",
            "sekisho.toml:9:1: `telemetry.drain_seconds`: no such key; `drain_seconds` belongs under `[partner_listener]`",
        ),
        (
            "[telemtry]\n",
            "sekisho.toml:8:2: `telemtry`: no such section; did you mean `telemetry`?",
        ),
        (
            "[clock]\ntick_seconds = \"soon\"",
            "sekisho.toml:9:1: `clock.tick_seconds`: is string \"soon\"; give an integer",
        ),
        (
            "[clock]\ntick_seconds = 0",
            "sekisho.toml:9:1: `clock.tick_seconds`: 0 is out of range; give 1 to 60",
        ),
        (
            "[outbound]\nretry_minimum_ms = 70000",
            "sekisho.toml:9:1: `outbound.retry_minimum_ms`: is more than `retry_maximum_ms`; the time between attempts grows from the first to the second",
        ),
        (
            "[processes]\nnegotiation_deadline_seconds = 604800",
            "sekisho.toml:9:1: `processes.negotiation_deadline_seconds`: is not more than `approval_deadline_seconds`; a partner's people may take as long as ours: a negotiation would end while it waits for their decision",
        ),
        (
            "[management]\nsocket_mode = \"0666\"",
            "sekisho.toml:9:1: `management.socket_mode`: `0666` is not a mode of the socket: `0600` or `0660`",
        ),
        (
            "[telemetry]\nlog_level = \"a=b=c\"",
            "sekisho.toml:9:1: `telemetry.log_level`: is not a filter; give `error`, `warn`, `info`, `debug`, `trace`, or such as `info,daemon::net=debug`",
        ),
        (
            "[telemetry]\notlp_endpoint = \"https://collector\"",
            "sekisho.toml:9:1: `telemetry.otlp_endpoint`: `https://collector` is not a plain HTTP address such as `http://127.0.0.1:4318`",
        ),
    ];
    for (addition, expected) in cases {
        let text = if addition.starts_with("[partner_listener]") {
            format!("{}{}\n", MINIMAL, addition.trim_start_matches("[partner_listener]\n"))
                .replacen('\n', "\n\n", 1)
        } else {
            format!("{MINIMAL}{addition}\n")
        };
        assert_eq!(problems(&text, &[]), [expected], "{addition}");
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let text = "[site]\nparticipant = 7\nnmae = \"A\"\n[journal]\nsegment_bytes = \"big\"\n[x]\n";
    let found =
        problems(text, &[("SEKISHO__CLOCK__TICK_SECONDS", "soon"), ("SEKISHO__CLOK__TICK", "1")]);
    for start in [
        "sekisho.toml:3:1: `site.nmae`",
        "sekisho.toml:5:1: `journal.segment_bytes`",
        "sekisho.toml:6:2: `x`",
        "sekisho.toml:1:2: `site.name`: must be given",
        "sekisho.toml: `partner_listener.public_url`: must be given",
        "environment variable SEKISHO__CLOCK__TICK_SECONDS: `clock.tick_seconds`",
        "environment variable SEKISHO__CLOK__TICK: `clok`: no such section; did you mean `clock`?",
    ] {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start} in {found:#?}");
    }
}

#[test]
fn a_text_that_is_not_toml_has_its_place() {
    assert!(problems("[site]\nname = ?", &[]).concat().starts_with("sekisho.toml:2:8:"));
    assert!(
        problems("[site]\nname = \"A\"\nname = \"B\"", &[]).concat().starts_with("sekisho.toml:3:")
    );
    assert!(
        problems("site = 1", &[]).concat().contains("sekisho.toml:1:1: `site`: is not a section")
    );
}

#[test]
fn public_urls_are_origins() {
    for wrong in ["http://a:1", "https://a/dsp", "https://u@a", "https://a?b", "a:8443", ""] {
        assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
    }
    assert_eq!("https://A.example:443".parse::<PublicUrl>().unwrap().as_str(), "https://a.example");
}

#[test]
fn init_sets_keys_in_the_reference() {
    let text = reference_with(&[
        ("site", "name", "\"B社\"".to_owned()),
        ("partner_listener", "bind", "[\"127.0.0.1:7\"]".to_owned()),
        ("status_listener", "bind", "[]".to_owned()),
    ]);
    let config = parse(&text, &[]).unwrap();
    assert_eq!(config.site.name, "B社");
    assert_eq!(config.partner_listener.bind, ["127.0.0.1:7".parse().unwrap()]);
    assert!(config.status_listener.bind.is_empty());
    assert_eq!(text.lines().count(), REFERENCE.lines().count());
}

#[test]
fn a_socket_path_that_no_kernel_takes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let long = "s".repeat(120);
    let text = format!("{MINIMAL}[management]\nsocket = \"{long}\"\n");
    std::fs::write(directory.path().join(FILE_NAME), text).unwrap();
    let problems = Config::load(directory.path(), []).unwrap_err();
    assert!(problems.to_string().contains("socket's path may have 107"), "{problems}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]a-z_=\"#\n 0-9.]{0,200}") {
        let _ = parse(&text, &[]);
    }
}
