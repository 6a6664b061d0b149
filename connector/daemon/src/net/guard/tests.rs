use proptest::prelude::*;

use super::*;

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn guard(networks: &[&str]) -> Guard {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Guard::new(vec![origin("https://b.example:8443")], networks)
}

#[test]
fn urls_are_read_strictly() {
    let guard = guard(&[]);
    let good = [
        ("https://b.example:8443/dsp/catalog/request", "/dsp/catalog/request"),
        ("https://B.Example:8443", "/"),
        ("https://b.example:8443/a?b=c", "/a?b=c"),
        ("https://b.example:8443/a/../b", "/b"),
    ];
    for (url, path) in good {
        assert_eq!(guard.target(url).unwrap().path.as_str(), path, "{url}");
    }
    let bad = [
        ("http://b.example:8443/", "https only"),
        ("ftp://b.example:8443/", "https only"),
        ("file:///etc/passwd", "https only"),
        ("/dsp", "not an absolute URL"),
        ("", "not an absolute URL"),
        ("https://", "not an absolute URL"),
        ("https://b.example:0/", "port 0"),
        ("https://b.example:99999/", "not an absolute URL"),
        ("https://user@b.example:8443/", "a user name or password"),
        ("https://:secret@b.example:8443/", "a user name or password"),
        ("https://b.example:8443/#part", "a fragment"),
        ("https://b.example/", "no registered origin"),
        ("https://b.example:8444/", "no registered origin"),
        ("https://b.example.evil.example:8443/", "no registered origin"),
        ("https://evil.example:8443/b.example", "no registered origin"),
        ("https://b.example:8443@evil.example/", "a user name or password"),
    ];
    for (url, reason) in bad {
        let error = guard.target(url).unwrap_err().to_string();
        assert!(error.contains(reason), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
    let long = format!("https://b.example:8443/{}", "a".repeat(MAX_URL_BYTES));
    assert!(guard.target(&long).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn origins_have_one_spelling() {
    assert_eq!(origin("https://b.example"), origin("https://B.EXAMPLE:443/"));
    assert_eq!(origin("https://b.example:443").to_string(), "https://b.example");
    assert_eq!(origin("https://[::1]:8443").to_string(), "https://[::1]:8443");
    // Every old way to write 127.0.0.1 is that address before it is looked at.
    for text in ["https://2130706433", "https://0x7f.1", "https://0177.0.0.1", "https://127.1"] {
        assert_eq!(origin(text).host(), &Host::<String>::Ipv4(Ipv4Addr::LOCALHOST), "{text}");
    }
    for text in ["https://b.example/dsp", "https://b.example/?a", "b.example", "http://b.example"] {
        text.parse::<Origin>().unwrap_err();
    }
}

#[test]
fn every_kind_of_address_is_known() {
    use AddressClass as C;
    let table = [
        ("8.8.8.8", C::Public),
        ("1.1.1.1", C::Public),
        ("100.63.255.255", C::Public),
        ("100.128.0.0", C::Public),
        ("172.15.255.255", C::Public),
        ("172.32.0.0", C::Public),
        ("223.255.255.255", C::Public),
        ("0.0.0.0", C::Unspecified),
        ("0.1.2.3", C::Unspecified),
        ("10.0.0.1", C::Private),
        ("172.16.0.1", C::Private),
        ("172.31.255.255", C::Private),
        ("192.168.1.1", C::Private),
        ("100.64.0.1", C::SharedByCarrier),
        ("127.0.0.1", C::Loopback),
        ("127.255.255.254", C::Loopback),
        ("169.254.169.254", C::LinkLocal),
        ("192.0.0.8", C::Reserved),
        ("192.0.2.1", C::Reserved),
        ("192.88.99.1", C::Reserved),
        ("198.18.0.1", C::Reserved),
        ("198.51.100.1", C::Reserved),
        ("203.0.113.1", C::Reserved),
        ("224.0.0.1", C::Multicast),
        ("239.255.255.255", C::Multicast),
        ("240.0.0.1", C::Reserved),
        ("255.255.255.255", C::Reserved),
        ("2606:4700::1111", C::Public),
        ("::", C::Unspecified),
        ("::1", C::Loopback),
        ("::ffff:127.0.0.1", C::Loopback),
        ("::ffff:8.8.8.8", C::Public),
        ("::7f00:1", C::Reserved),
        ("64:ff9b:1::1", C::Reserved),
        ("100::1", C::Reserved),
        ("2001::1", C::Reserved),
        ("2001:2::1", C::Reserved),
        ("2001:db8::1", C::Reserved),
        ("3fff::1", C::Reserved),
        ("5f00::1", C::Reserved),
        ("fc00::1", C::Private),
        ("fd12::1", C::Private),
        ("fe80::1", C::LinkLocal),
        ("fec0::1", C::Private),
        ("ff02::1", C::Multicast),
        ("4000::1", C::Reserved),
    ];
    for (address, class) in table {
        assert_eq!(AddressClass::of(address.parse().unwrap()), class, "{address}");
    }
}

#[test]
fn all_resolved_addresses_have_to_pass() {
    let check = |networks: &[&str], addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let at = origin("https://b.example:8443");
        guard(networks).addresses(&at, addresses.collect::<Vec<IpAddr>>())
    };
    let passes: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["8.8.8.8"], &["8.8.8.8:8443"]),
        (&[], &["8.8.8.8", "8.8.8.8", "1.1.1.1"], &["8.8.8.8:8443", "1.1.1.1:8443"]),
        (&["10.1.0.0/16"], &["10.1.2.3"], &["10.1.2.3:8443"]),
        (&["127.0.0.0/8"], &["::ffff:127.0.0.1"], &["127.0.0.1:8443"]),
        (&["::1/128"], &["::1"], &["[::1]:8443"]),
        (&["10.0.0.0/8"], &["64:ff9b::a00:1"], &["[64:ff9b::a00:1]:8443"]),
        (&[], &["64:ff9b::808:808"], &["[64:ff9b::808:808]:8443"]),
    ];
    for (networks, addresses, dialled) in passes {
        let passed = check(networks, addresses).unwrap();
        let passed: Vec<_> = passed.iter().map(ToString::to_string).collect();
        assert_eq!(passed, *dialled, "{addresses:?}");
    }
    let refused: &[(&[&str], &[&str], &str)] = &[
        (&[], &[], "resolves to no address"),
        (&[], &["10.0.0.1"], "a private network"),
        (&["10.1.0.0/16"], &["10.2.0.1"], "a private network"),
        (&[], &["8.8.8.8", "127.0.0.1"], "loopback"),
        (&["127.0.0.0/8"], &["127.0.0.1", "169.254.169.254"], "link-local"),
        (&[], &["::ffff:10.0.0.1"], "contains 10.0.0.1"),
        (&[], &["64:ff9b::7f00:1"], "contains 127.0.0.1"),
        (&[], &["2002:7f00:1::1"], "contains 127.0.0.1"),
        (&[], &["2002:a9fe:a9fe::1"], "link-local"),
        (&["0.0.0.0/0"], &["0.0.0.0"], "unspecified"),
        (&["0.0.0.0/0"], &["224.0.0.1"], "multicast"),
        (&["::/0"], &["::"], "unspecified"),
        (&["::/0"], &["ff02::1"], "multicast"),
        (&["::/0"], &["127.0.0.1"], "loopback"),
    ];
    for (networks, addresses, reason) in refused {
        let error = check(networks, addresses).unwrap_err().to_string();
        assert!(error.contains(reason), "{addresses:?}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_answer_and_never_leaves_the_registered_origins(text in "\\PC{0,80}") {
        for text in [text.clone(), format!("https://b.example:8443{text}"), format!("https://{text}")] {
            if let Ok(target) = guard(&[]).target(&text) {
                prop_assert_eq!(target.origin, origin("https://b.example:8443"));
            }
        }
    }

    #[test]
    fn a_private_address_passes_in_no_disguise(
        network in 0..IPV4_CLASSES.len(),
        host in any::<u32>(),
    ) {
        let network = IPV4_CLASSES[network].0;
        let mask = u32::from(network.hostmask());
        let inner = Ipv4Addr::from(u32::from(network.network()) | (host & mask));
        let [a, b, c, d] = inner.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let at = origin("https://b.example:8443");
        for disguise in [
            IpAddr::V4(inner),
            IpAddr::V6(inner.to_ipv6_mapped()),
            IpAddr::V6(inner.to_ipv6_compatible()),
            IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
            IpAddr::V6(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)),
        ] {
            prop_assert!(guard(&[]).addresses(&at, [disguise]).is_err(), "{}", disguise);
        }
    }
}
