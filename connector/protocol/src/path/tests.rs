use std::collections::BTreeSet;

use super::*;
use crate::process::Machine;

const TEMPLATES: [&str; 18] = [
    VERSION,
    CATALOG_REQUEST,
    DATASET,
    NEGOTIATION_REQUEST,
    NEGOTIATION_OFFERS,
    NEGOTIATION,
    NEGOTIATION_COUNTER_REQUEST,
    NEGOTIATION_COUNTER_OFFER,
    NEGOTIATION_EVENTS,
    NEGOTIATION_AGREEMENT,
    NEGOTIATION_VERIFICATION,
    NEGOTIATION_TERMINATION,
    TRANSFER_REQUEST,
    TRANSFER,
    TRANSFER_START,
    TRANSFER_SUSPENSION,
    TRANSFER_COMPLETION,
    TRANSFER_TERMINATION,
];

/// What a peer's router makes of an address that we build.
fn routed(url: &Url) -> (&'static str, String) {
    let mut router = matchit::Router::new();
    for template in TEMPLATES {
        router.insert(template, template).unwrap();
    }
    let path = url.path().strip_prefix("/dsp").unwrap();
    let found = router.at(path).unwrap_or_else(|_| panic!("no endpoint at `{path}`"));
    let parameter = found.params.iter().next().map_or("", |(_, value)| value);
    (found.value, parameter.to_owned())
}

#[test]
fn every_address_leads_to_its_endpoint() {
    let base = BaseUrl::new("https://peer.example:8443/dsp").unwrap();
    let pid = Pid::new("urn:uuid:1").unwrap();
    let dataset = DatasetId::new("motor/測定?v=1#x").unwrap();
    let mut reached = BTreeSet::from([VERSION]);
    let mut check = |endpoint: Endpoint<'_>, template: &'static str, parameter: &str| {
        let expected = (template, parameter.to_owned());
        assert_eq!(routed(&base.endpoint(endpoint)), expected, "{endpoint:?}");
        reached.insert(template);
    };

    check(Endpoint::CatalogRequest, CATALOG_REQUEST, "");
    check(Endpoint::Dataset(&dataset), DATASET, "motor%2F%E6%B8%AC%E5%AE%9A%3Fv=1%23x");
    check(Endpoint::NegotiationRequest, NEGOTIATION_REQUEST, "");
    check(Endpoint::NegotiationOffers, NEGOTIATION_OFFERS, "");
    check(Endpoint::Negotiation(&pid), NEGOTIATION, "urn:uuid:1");
    check(Endpoint::TransferRequest, TRANSFER_REQUEST, "");
    check(Endpoint::Transfer(&pid), TRANSFER, "urn:uuid:1");
    for &kind in negotiation::Negotiation::MESSAGES {
        use negotiation::MessageKind as Kind;
        let template = match kind {
            Kind::Request => NEGOTIATION_COUNTER_REQUEST,
            Kind::Offer => NEGOTIATION_COUNTER_OFFER,
            Kind::Accepted | Kind::Finalized => NEGOTIATION_EVENTS,
            Kind::Agreement => NEGOTIATION_AGREEMENT,
            Kind::Verification => NEGOTIATION_VERIFICATION,
            Kind::Termination => NEGOTIATION_TERMINATION,
        };
        check(Endpoint::NegotiationMessage(&pid, kind), template, "urn:uuid:1");
    }
    use transfer::MessageKind as Kind;
    for (kind, template) in [
        (Kind::Start, TRANSFER_START),
        (Kind::Suspension, TRANSFER_SUSPENSION),
        (Kind::Completion, TRANSFER_COMPLETION),
        (Kind::Termination, TRANSFER_TERMINATION),
    ] {
        check(Endpoint::TransferMessage(&pid, kind), template, "urn:uuid:1");
    }
    assert_eq!(reached, BTreeSet::from(TEMPLATES), "every template has an address");
}

#[test]
fn no_identifier_leaves_its_segment() {
    let base = BaseUrl::new("https://peer.example/dsp/").unwrap();
    for text in ["a/b", "a?b", "a#b", "a%2fb", "%2e%2e", "a\\b", "a b", "...", "@:"] {
        let pid = Pid::new(text).unwrap();
        let url = base.endpoint(Endpoint::Transfer(&pid));
        let segments: Vec<_> = url.path_segments().unwrap().collect();
        assert_eq!(segments.len(), 3, "{url}");
        assert_eq!((url.query(), url.fragment()), (None, None), "{url}");
        assert_eq!(url.host_str(), Some("peer.example"));
        let decoded = percent_decoded(segments[2]);
        assert_eq!(decoded, text, "the peer reads what we mean");
    }
}

#[test]
fn a_trailing_slash_makes_no_difference() {
    for text in ["https://peer.example/dsp", "https://peer.example/dsp/"] {
        let base = BaseUrl::new(text).unwrap();
        assert_eq!(base.as_str(), text, "the address is kept as it was written");
        let url = base.endpoint(Endpoint::CatalogRequest);
        assert_eq!(url.as_str(), "https://peer.example/dsp/catalog/request");
    }
    let root = BaseUrl::new("https://peer.example").unwrap();
    assert_eq!(root.version().as_str(), "https://peer.example/.well-known/dspace-version");
    for path in ["dsp", "/dsp", "/dsp/"] {
        assert_eq!(root.join(path).unwrap().as_str(), "https://peer.example/dsp");
    }
    assert_eq!(root.join("/").unwrap().as_str(), "https://peer.example");
}

#[test]
fn refuses_addresses_to_which_no_path_can_be_added() {
    let long = format!("https://peer.example/{}", "x".repeat(MAX_URL_BYTES));
    for text in [
        "",
        "peer.example",
        "/dsp",
        "http://peer.example",
        "ftp://peer.example",
        "https://",
        "file:///etc/passwd",
        "data:text/plain,x",
        "https://user@peer.example",
        "https://:secret@peer.example",
        "https://peer.example?x",
        "https://peer.example/#x",
        &long,
    ] {
        let error = BaseUrl::new(text).expect_err(text);
        assert!(!error.to_string().contains("secret"), "{error}");
        let json = serde_json::to_string(text).unwrap();
        assert!(serde_json::from_str::<BaseUrl>(&json).is_err(), "serde must check {text:?}");
    }
    let root = BaseUrl::new("https://peer.example").unwrap();
    assert!(root.join("/dsp?x=1").is_err());
}

#[test]
fn the_root_of_a_base_is_its_origin_or_a_part_of_its_path() {
    let texts = |base: &str| -> Vec<String> {
        BaseUrl::new(base).unwrap().roots().iter().map(|root| root.version().to_string()).collect()
    };
    let found = "/.well-known/dspace-version";
    assert_eq!(
        texts("https://peer.example:8443/api/dsp/"),
        ["", "/api", "/api/dsp"].map(|path| format!("https://peer.example:8443{path}{found}"))
    );
    assert_eq!(texts("https://peer.example"), [format!("https://peer.example{found}")]);
    let deep = BaseUrl::new(&format!("https://peer.example{}", "/x".repeat(900))).unwrap();
    assert_eq!(deep.roots().len(), ROOT_SEGMENTS_MAX + 1);
    for (root, path, base, same) in [
        ("https://peer.example", "/dsp/2025-1", "https://peer.example/dsp/2025-1/", true),
        ("https://peer.example/api/", "dsp", "https://peer.example/api/dsp", true),
        ("https://peer.example/api", "dsp", "https://peer.example/dsp", false),
    ] {
        let joined = BaseUrl::new(root).unwrap().join(path).unwrap();
        assert_eq!(joined.is_same(&BaseUrl::new(base).unwrap()), same, "{root} {path} {base}");
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.extend(hex::decode(digits).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
