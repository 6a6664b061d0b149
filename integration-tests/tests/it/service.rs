//! The daemon as a service: health, metrics, stopping, and what its logs may not say.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::connector::Connector;
use integration_tests::files;
use integration_tests::process::get;
use integration_tests::scene::Scene;
use integration_tests::wait::{self, PATIENCE};
use rustix::process::Signal;

use crate::stage::{Pair, note, word};

const SIZE: u64 = 64 * 1024 * 1024;

#[test]
fn health_and_metrics_are_served_without_secrets() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        assert_eq!(connector.peer.get(&transfer.address.path, &headers)?.status, 200);

        assert_eq!(get(supplier.status(), "/health/live")?.0, 200);
        assert_eq!(get(supplier.status(), "/health/ready")?.0, 200);
        assert_eq!(get(supplier.status(), "/elsewhere")?.0, 404);
        let (status, metrics) = get(supplier.status(), "/metrics")?;
        assert_eq!(status, 200);
        assert!(metrics.contains("# TYPE "), "{metrics}");
        let token = &transfer.address.token;
        for text in [&metrics, &supplier.log()?] {
            assert!(!text.contains(token.as_str()), "the access token is shown");
        }
        Ok(())
    })
}

#[test]
fn no_log_holds_a_token_even_at_the_finest_level() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene.plan("b").setting("telemetry", "log_level", "trace").make()?;
        let mut customer = scene.plan("a").setting("telemetry", "log_level", "trace").make()?;
        supplier.start()?;
        customer.start()?;
        let Pair { supplier, mut customer } = Pair::of(supplier, customer)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        connector.peer.get(&transfer.address.path, &headers)?;
        // Nor does the journal, on either side.
        let token = transfer.address.token.as_bytes();
        assert!(!contains(supplier.log()?.as_bytes(), token));
        for entry in std::fs::read_dir(supplier.path("data/journal"))? {
            let path = entry?.path();
            if path.is_file() {
                assert!(!contains(&std::fs::read(&path)?, token), "{}", path.display());
            }
        }
        // What the customer's daemon was given, it wrote into no log either.
        let log = customer.log()?.to_lowercase();
        assert!(!log.contains("bearer "), "a header with a token is logged");
        Ok(())
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_first_signal_drains_what_runs() -> Result<()> {
    Scene::play(|scene| {
        let (mut supplier, mut opened) = streaming(scene, "600")?;
        supplier.daemon()?.signal(Signal::TERM)?;
        wait::until("it is no longer ready", PATIENCE, || {
            Ok((!matches!(get(supplier.status(), "/health/ready"), Ok((200, _)))).then_some(()))
        })?;
        assert!(!supplier.daemon()?.is_over()?, "it did not wait for the transfer");
        let (rest, whole) = opened.drain();
        assert!(whole && rest > SIZE / 2, "the transfer was not finished: {rest} bytes");
        drop(opened);
        let status = supplier.take_daemon()?.wait(PATIENCE)?;
        assert!(status.success(), "{status}");
        supplier.start()?;
        Ok(())
    })
}

#[test]
fn the_second_signal_stops_at_once() -> Result<()> {
    Scene::play(|scene| {
        let (mut supplier, mut opened) = streaming(scene, "600")?;
        supplier.daemon()?.signal(Signal::TERM)?;
        wait::until("it drains", PATIENCE, || {
            Ok((!matches!(get(supplier.status(), "/health/ready"), Ok((200, _)))).then_some(()))
        })?;
        supplier.daemon()?.signal(Signal::TERM)?;
        let status = supplier.take_daemon()?.wait(PATIENCE)?;
        assert!(status.success(), "{status}");
        assert!(!opened.drain().1, "the body ended as if it were whole");
        supplier.start()?;
        Ok(())
    })
}

#[test]
fn a_drain_ends_when_its_time_is_over() -> Result<()> {
    Scene::play(|scene| {
        let (mut supplier, opened) = streaming(scene, "1")?;
        supplier.daemon()?.signal(Signal::TERM)?;
        let status = supplier.take_daemon()?.wait(PATIENCE)?;
        assert!(status.success(), "{status}");
        drop(opened);
        Ok(())
    })
}

/// A supplier in the middle of serving a file to somebody who reads slowly.
fn streaming(
    scene: &Scene,
    drain_seconds: &str,
) -> Result<(integration_tests::site::Site, integration_tests::peer::Opened)> {
    let plan = scene.plan("b").setting("partner_listener", "drain_seconds", drain_seconds);
    let mut supplier = plan.make()?;
    supplier.start()?;
    let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
    let source = scene.file("source.bin");
    files::write(&source, SIZE, "source")?;
    supplier.publish(&source, "one", "open")?;
    customer.stop()?;
    let connector = Connector::play(&customer, &supplier)?;
    let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
    let headers = [("authorization", transfer.address.authorization.as_str())];
    let mut opened =
        connector.peer.open(Method::GET, &transfer.address.path, &headers, Bytes::new())?;
    opened.chunk()?.context("the stream is empty")?;
    Ok((supplier, opened))
}
