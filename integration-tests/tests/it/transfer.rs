//! The data path: HTTP as its standards want it, and transfers that outlive crashes.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use integration_tests::connector::{Connector, Transfer, text};
use integration_tests::files;
use integration_tests::peer::Reply;
use integration_tests::proxy::{Faults, Proxy};
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::json;

use crate::stage::{Pair, word};

/// Large enough that a line of [`SLOW`] is cut in the middle.
const SIZE: u64 = 24 * 1024 * 1024;
const SLOW: Faults = Faults {
    bytes_per_second: Some(8 * 1024 * 1024),
    latency: Duration::ZERO,
    reset_after: None,
    refuse: false,
    blackhole: false,
};

/// A played customer with a transfer of a file.
struct Granted {
    _supplier: Site,
    _customer: Site,
    connector: Connector,
    transfer: Transfer,
}

impl Granted {
    fn new(scene: &Scene, size: u64) -> Result<Self> {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, size, "source")?;
        supplier.publish(&source, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        Ok(Self { _supplier: supplier, _customer: customer, connector, transfer })
    }

    fn ask(&self, method: Method, headers: &[(&str, &str)]) -> Result<Reply> {
        let token = self.transfer.address.authorization.as_str();
        let headers = [&[("authorization", token)], headers].concat();
        self.connector.peer.send(method, &self.transfer.address.path, &headers, Bytes::new())
    }
}

#[test]
fn ranges_validators_and_digests_are_those_of_the_standards() -> Result<()> {
    Scene::play(|scene| {
        let granted = Granted::new(scene, 100_000)?;
        let source = std::fs::read(scene.file("source.bin"))?;
        let whole = granted.ask(Method::GET, &[])?;
        assert_eq!((whole.status, &whole.body[..]), (200, &source[..]));
        let etag = whole.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() > 2, "a strong validator: {etag}");
        assert_eq!(whole.header("accept-ranges"), "bytes");
        let digest = whole.header("repr-digest");
        assert!(digest.contains("sha-256=:"), "{digest}");

        let head = granted.ask(Method::HEAD, &[])?;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), "100000");
        assert_eq!((head.header("etag"), head.header("repr-digest")), (etag.as_str(), digest));

        let cases: [(&str, u16, &[u8]); 5] = [
            ("bytes=10-19", 206, &source[10..20]),
            ("bytes=99990-", 206, &source[99_990..]),
            ("bytes=-5", 206, &source[99_995..]),
            ("bytes=100000-", 416, b""),
            ("pages=1-2", 200, &source),
        ];
        for (range, status, expected) in cases {
            let part = granted.ask(Method::GET, &[("range", range)])?;
            assert_eq!(part.status, status, "{range}");
            if status != 416 {
                assert_eq!(&part.body[..], expected, "{range}");
            }
        }
        let part = granted.ask(Method::GET, &[("range", "bytes=0-0"), ("if-range", &etag)])?;
        assert_eq!((part.status, part.header("content-range")), (206, "bytes 0-0/100000"));
        let other =
            granted.ask(Method::GET, &[("range", "bytes=0-0"), ("if-range", "\"other\"")])?;
        assert_eq!((other.status, other.body.len()), (200, 100_000));
        assert_eq!(granted.ask(Method::GET, &[("if-none-match", &etag)])?.status, 304);
        assert_eq!(granted.ask(Method::GET, &[("if-match", "\"other\"")])?.status, 412);
        assert_eq!(granted.ask(Method::DELETE, &[])?.status, 405);
        Ok(())
    })
}

#[test]
fn no_token_or_a_wrong_one_opens_nothing() -> Result<()> {
    Scene::play(|scene| {
        let granted = Granted::new(scene, 1000)?;
        let (peer, path) = (&granted.connector.peer, &granted.transfer.address.path);
        assert_eq!(peer.get(path, &[])?.status, 401);
        let token = &granted.transfer.address.token;
        let wrong = format!("Bearer {}", files::with_other_letter(token));
        for value in [wrong.as_str(), "Bearer ", "Basic YTpi", ""] {
            let reply = peer.get(path, &[("authorization", value)])?;
            assert!((401..=404).contains(&reply.status), "`{value}`: {reply:?}");
        }
        // A token belongs to its transfer.
        let second = granted.connector.negotiate("one", None)?;
        let second = granted.connector.transfer(&second)?;
        let crossed = [("authorization", granted.transfer.address.authorization.as_str())];
        let reply = peer.get(&second.address.path, &crossed)?;
        assert!((401..=404).contains(&reply.status), "{reply:?}");
        Ok(())
    })
}

/// A supplier behind a line that the test controls, with one large file.
struct Behind {
    supplier: Site,
    customer: Site,
    proxy: Proxy,
}

impl Behind {
    fn new(scene: &Scene) -> Result<Self> {
        let (supplier, proxy) = scene.site_behind_a_line("b")?;
        let Pair { supplier, customer } = Pair::of(supplier, scene.site("a")?)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        supplier.publish(&source, "one", "open")?;
        Ok(Self { supplier, customer, proxy })
    }

    /// Waits until about a quarter of the file has passed.
    fn underway(&self) -> Result<()> {
        let enough = self.proxy.passed() + SIZE / 4;
        wait::until("a part of the file passed", PATIENCE, || {
            Ok((self.proxy.passed() >= enough).then_some(()))
        })
    }

    /// Bytes that passed since; a transfer that began anew would need all of them.
    fn resumed(&self, since: u64) -> bool {
        self.proxy.passed() - since < SIZE
    }
}

#[test]
fn a_pull_goes_on_after_each_side_and_the_command_were_killed() -> Result<()> {
    Scene::play(|scene| {
        let mut behind = Behind::new(scene)?;
        behind.proxy.set(SLOW);
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "-o", word(&target)?, "--wait", "60"];
        let running = behind.customer.begin(&pull)?;

        behind.underway()?;
        behind.supplier.kill()?;
        let first = behind.proxy.passed();
        behind.supplier.start()?;
        behind.underway()?;
        behind.customer.kill()?;
        behind.customer.start()?;
        wait::until("the transfer goes on", PATIENCE, || {
            Ok((behind.proxy.passed() > first + SIZE / 3).then_some(()))
        })?;
        running.kill()?;
        assert!(!target.exists());
        behind.proxy.set(Faults::default());
        behind.customer.run(&pull)?.expect(0)?;
        assert!(behind.resumed(first), "it began from the start again");
        assert_eq!(files::sha256(&target)?, files::sha256(&scene.file("source.bin"))?);
        // One use, however often it was interrupted.
        assert_eq!(behind.supplier.records("a", "transfer-granted")?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_line_that_is_cut_and_falls_silent_is_survived() -> Result<()> {
    Scene::play(|scene| {
        let behind = Behind::new(scene)?;
        let target = scene.file("got.bin");
        behind.proxy.set(Faults { reset_after: Some(SIZE / 5), ..Faults::default() });
        let running =
            behind.customer.begin(&["pull", "b", "one", "-o", word(&target)?, "--wait", "60"])?;
        wait::until("the line was cut three times", PATIENCE, || {
            Ok((behind.proxy.passed() > 3 * SIZE / 5).then_some(()))
        })?;
        behind.proxy.set(Faults { refuse: true, ..Faults::default() });
        let (before, refused) = (behind.proxy.passed(), behind.proxy.connections());
        wait::until("it dials again", PATIENCE, || {
            Ok((behind.proxy.connections() > refused + 1).then_some(()))
        })?;
        behind.proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert!(behind.resumed(before));
        assert_eq!(files::sha256(&target)?, files::sha256(&scene.file("source.bin"))?);
        Ok(())
    })
}

#[test]
fn a_file_that_changed_in_place_is_not_served_and_reported() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, 3 * 1024 * 1024, "source")?;
        let path = word(&source)?;
        let publish = ["dataset", "publish", path, "--id", "one", "--title", "One"];
        let publish = [&publish[..], &["--policy", "open", "--in-place", "--yes"]].concat();
        supplier.ask(&publish)?;
        let target = scene.file("got.bin");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        assert_eq!(files::sha256(&target)?, files::sha256(&source)?);

        files::flip(&source, 2 * 1024 * 1024)?;
        let again = scene.file("again.bin");
        let refused = customer.run(&["pull", "b", "one", "-o", word(&again)?, "--wait", "5"])?;
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
        assert!(!again.exists());
        wait::until("the change is on record", PATIENCE, || {
            let damaged = supplier.records("site", "dataset-damaged")?;
            Ok((!damaged.is_empty()).then_some(()))
        })?;
        // Published again, it is served again.
        supplier.ask(&publish)?;
        // What was under way was of the version before, and goes on with the new one.
        customer.ask(&["pull", "b", "one", "-o", word(&again)?])?;
        assert_eq!(files::sha256(&again)?, files::sha256(&source)?);
        Ok(())
    })
}

#[test]
fn a_pull_whose_dataset_is_published_again_goes_on_with_the_new_version() -> Result<()> {
    Scene::play(|scene| {
        let behind = Behind::new(scene)?;
        behind.proxy.set(SLOW);
        let target = scene.file("got.bin");
        let running = behind.customer.begin(&["pull", "b", "one", "-o", word(&target)?])?;
        behind.underway()?;
        let newer = scene.file("newer.bin");
        files::write(&newer, SIZE, "newer")?;
        behind.supplier.publish(&newer, "one", "open")?;
        behind.proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(files::sha256(&target)?, files::sha256(&newer)?);
        // Each version is a grant of its own, with its own evidence.
        assert_eq!(behind.supplier.records("a", "transfer-granted")?.len(), 2);
        Ok(())
    })
}

#[test]
fn a_pull_that_is_cancelled_ends_on_both_sides_and_leaves_nothing() -> Result<()> {
    Scene::play(|scene| {
        let behind = Behind::new(scene)?;
        behind.proxy.set(SLOW);
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "-o", word(&target)?];
        let running = behind.customer.begin(&pull)?;
        behind.underway()?;
        let incoming = behind.customer.path("data/incoming");
        assert_ne!(std::fs::read_dir(&incoming)?.count(), 0);
        let listed = behind.customer.ask(&["pulls", "list"])?;
        let id = text(&listed, "/pulls/0/id")?;
        let cancelled = behind.customer.ask(&["pulls", "cancel", &id, "--reason", "wrong file"])?;
        assert_eq!(
            (&cancelled["step"], &cancelled["code"]),
            (&json!("failed"), &json!("cancelled"))
        );
        assert_ne!(running.wait(COMMAND_LIMIT)?.code, Some(0));
        assert_eq!(std::fs::read_dir(&incoming)?.count(), 0, "partial bytes are left");
        assert!(!target.exists());
        let failed = behind.customer.records("b", "pull-failed")?;
        assert_eq!(text(&failed[0], "/account/reason")?, "wrong file");
        behind.proxy.set(Faults::default());
        wait::until("the supplier was told", PATIENCE, || {
            let ended = behind.supplier.records("a", "transfer-terminated")?;
            Ok((!ended.is_empty()).then_some(()))
        })?;
        behind.customer.ask(&pull)?;
        let refused = behind.customer.run(&["pulls", "cancel", "no-such-pull"])?;
        refused.expect(66)?;
        Ok(())
    })
}

#[test]
fn grants_that_a_kill_interrupted_are_each_closed_as_at_most_their_limit() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, 1000, "source")?;
        supplier.publish(&source, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let agreement = connector.negotiate("one", None)?;
        let transfers = [(); 3].map(|()| connector.transfer(&agreement));
        let transfers = transfers.into_iter().collect::<Result<Vec<_>>>()?;
        supplier.kill()?;
        supplier.start()?;
        let closed = supplier.records("a", "transfer-served")?;
        let closed: Vec<String> = (closed.iter())
            .filter(|record| record.pointer("/account/facts/atMostBytes") == Some(&json!(1000)))
            .map(ToString::to_string)
            .collect();
        assert_eq!(closed.len(), 3, "{closed:?}");
        for transfer in &transfers {
            let of = closed.iter().filter(|record| record.contains(&transfer.provider_pid));
            assert_eq!(of.count(), 1, "{closed:?}");
        }
        Ok(())
    })
}

#[test]
fn what_a_node_keeps_is_for_its_own_user() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, 1000, "source")?;
        supplier.publish(&source, "one", "open")?;
        customer.ask(&["pull", "b", "one", "-o", word(&scene.file("got.bin"))?])?;
        supplier.restart()?;
        for site in [&supplier, &customer] {
            let mut directories = vec![site.path("data")];
            let mut seen = Vec::new();
            while let Some(directory) = directories.pop() {
                let mode = std::fs::metadata(&directory)?.permissions().mode() & 0o777;
                assert_eq!(mode, 0o700, "`{}`", directory.display());
                for entry in std::fs::read_dir(&directory)? {
                    let entry = entry?;
                    // What sled makes lies behind the index's own directory.
                    if entry.file_type()?.is_dir() && !directory.ends_with("index") {
                        directories.push(entry.path());
                    }
                }
                seen.push(directory);
            }
            assert!(seen.len() > 3, "{seen:?}");
        }
        Ok(())
    })
}
