//! Time windows and clocks that cannot be trusted, on a node whose clock the test moves.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::clocked::ClockedNode;
use integration_tests::connector::Connector;
use integration_tests::files;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use jiff::{SignedDuration, Timestamp};

use crate::stage::{OPEN, Pair};

const SIZE: u64 = 128 * 1024 * 1024;

/// A supplier in this process and a played customer; the dataset `one` is under a policy.
fn stage(scene: &Scene, policy: &str) -> Result<(Site, Site)> {
    let plan = scene.plan("b").setting("clock", "tick_seconds", "1");
    let mut supplier = plan.make()?;
    supplier.start()?;
    let Pair { mut supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
    supplier.activate(&[("timed", policy)])?;
    let source = scene.file("source.bin");
    files::write(&source, SIZE, "source")?;
    supplier.publish(&source, "one", "timed")?;
    customer.stop()?;
    supplier.stop()?;
    Ok((supplier, customer))
}

#[test]
fn a_transfer_is_cut_when_its_time_window_ends() -> Result<()> {
    Scene::play(|scene| {
        let until = Timestamp::now().checked_add(SignedDuration::from_hours(1))?;
        let when = format!("[[permit]]\nwhen = [\"dateTime lt {until}\"]");
        let (supplier, customer) = stage(scene, &OPEN.replace("[[permit]]", &when))?;
        let mut node = ClockedNode::start(&supplier)?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let path = &transfer.address.path;
        let mut opened = connector.peer.open(Method::GET, path, &headers, Bytes::new())?;
        opened.chunk()?.context("the stream is empty")?;

        node.clock.pass(2 * 3600);
        wait::until("the cut is on record", PATIENCE, || {
            let cuts = supplier.records("a", "transfer-cut")?;
            Ok((!cuts.is_empty()).then_some(()))
        })?;
        let (after, whole) = opened.drain();
        assert!(!whole && after < 16 * 1024 * 1024, "{after} bytes came after the cut");
        assert!(matches!(connector.peer.get(path, &headers)?.status, 403 | 404));
        node.stop()
    })
}

#[test]
fn a_clock_that_steps_ends_permits_until_an_operator_accepts_it() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, customer) = stage(scene, OPEN)?;
        let mut node = ClockedNode::start(&supplier)?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let path = &transfer.address.path;
        let mut opened = connector.peer.open(Method::GET, path, &headers, Bytes::new())?;
        opened.chunk()?.context("the stream is empty")?;

        node.clock.step(-3600);
        wait::until("the clock is refused", PATIENCE, || {
            let refused = supplier.records("site", "clock-refused")?;
            Ok((!refused.is_empty()).then_some(()))
        })?;
        let (after, whole) = opened.drain();
        assert!(
            !whole && after < 16 * 1024 * 1024,
            "{after} bytes came after the clock was refused"
        );
        assert!(connector.peer.get(path, &headers)?.status >= 400);

        supplier.ask(&["clock", "accept", "--reason", "checked against the radio"])?;
        let range = [headers[0], ("range", "bytes=0-9")];
        assert_eq!(connector.peer.get(path, &range)?.status, 206);
        node.stop()
    })
}
