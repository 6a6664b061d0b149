//! What takes the ground of a running transfer away while bytes flow, for a reader that reads and for one that stalls: the
//! bytes stop, the record names the clause, and the partner is told why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use integration_tests::authority::Authority;
use integration_tests::clocked::ClockedNode;
use integration_tests::connector::{Connector, Transfer, text};
use integration_tests::files;
use integration_tests::peer::{Opened, Peer};
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::stage::{OPEN, Pair};

/// More than what socket buffers hold: a reader that stalls leaves most of it unsent.
const SIZE: u64 = 96 * 1024 * 1024;

/// What may still come after a cut: what was under way.
const UNDER_WAY: u64 = 16 * 1024 * 1024;

/// Why transfers of a suspended partner end.
const SUSPENDED: &str = "partner `a` is suspended";

/// The policy [`OPEN`] with a condition.
fn when(condition: &str) -> String {
    OPEN.replace("[[permit]]", &format!("[[permit]]\nwhen = [\"{condition}\"]"))
}

/// A file of the supplier that is changed as an administrator does, at once and as a whole.
fn edit(path: &PathBuf, change: impl FnOnce(&str) -> String) -> Result<()> {
    let before = std::fs::read_to_string(path)?;
    let after = change(&before);
    ensure!(before != after, "nothing was changed in {}", path.display());
    let new = path.with_extension("new");
    std::fs::write(&new, after)?;
    std::fs::rename(&new, path)?;
    Ok(())
}

/// The customer's entry among the supplier's partners, with a credential until an instant.
fn with_credential(before: &str, until: Option<Timestamp>) -> String {
    let until = until.map(|until| format!("valid_until = \"{until}\"\n")).unwrap_or_default();
    format!(
        "{before}\n[[credentials]]\ntype = \"MembershipCredential\"\nissuer = \"did:web:authority.example\"\n\
         verified_by = \"H. Tanaka, by the issuer's list\"\nsays = {{ Membership = [\"active\"] }}\n{until}"
    )
}

/// One transfer whose bytes flow.
struct Stream {
    transfer: Transfer,
    opened: Opened,
    stalls: bool,
    /// How its body ended, if it has: well or not.
    whole: Option<bool>,
}

impl Stream {
    fn open(peer: &Peer, transfer: Transfer, stalls: bool) -> Result<Self> {
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let mut opened = peer.open(Method::GET, &transfer.address.path, &headers, Bytes::new())?;
        ensure!(opened.status == 200, "{} instead of data", opened.status);
        opened.chunk()?.context("the stream is empty")?;
        Ok(Self { transfer, opened, stalls, whole: None })
    }
}

/// A reader and one that stalls, each with a transfer of its own of a dataset.
fn streams(connector: &Connector, dataset: &str) -> Result<[Stream; 2]> {
    let agreed = connector.negotiate(dataset, None)?;
    let open = |stalls| Stream::open(&connector.peer, connector.transfer(&agreed)?, stalls);
    Ok([open(false)?, open(true)?])
}

/// The reasons on record for the cuts of transfers, by the transfer.
fn cuts(supplier: &Site) -> Result<BTreeMap<String, String>> {
    let records = supplier.records("a", "transfer-cut")?;
    let told = records.iter().map(|record| {
        let account = record.get("account").context("a record without an account")?;
        let reason = account.get("reason").and_then(Value::as_str).unwrap_or_default();
        Ok((text(account, "/facts/transfer")?, reason.to_owned()))
    });
    told.collect()
}

/// Both streams end for this reason: on record, on the wire, and in what the partner is told.
fn ended(
    supplier: &Site,
    connector: &Connector,
    mut streams: [Stream; 2],
    on_record: &str,
    told: &str,
) -> Result<()> {
    let reasons = wait::until("the cuts are on record", PATIENCE, || {
        for stream in streams.iter_mut().filter(|stream| !stream.stalls && stream.whole.is_none()) {
            // What it reads may be the break already.
            stream.whole =
                stream.opened.chunk().map_or(Some(false), |piece| piece.is_none().then_some(true));
        }
        let cuts = cuts(supplier)?;
        let found: Option<Vec<String>> =
            streams.iter().map(|stream| cuts.get(&stream.transfer.provider_pid).cloned()).collect();
        Ok(found)
    })?;
    for reason in reasons {
        ensure!(reason.contains(on_record), "`{on_record}` is not why: {reason}");
    }
    // A partner that is suspended gets no messages; it hears why when it asks.
    let mut untold: Vec<String> = match on_record {
        SUSPENDED => Vec::new(),
        _ => streams.iter().map(|stream| stream.transfer.consumer_pid.clone()).collect(),
    };
    while !untold.is_empty() {
        let message = connector.expect("TransferTerminationMessage")?.body;
        let reason = message.to_string();
        ensure!(reason.contains(told), "`{told}` is not what the partner is told: {reason}");
        let about = text(&message, "/consumerPid")?;
        untold.retain(|pid| *pid != about);
    }
    for Stream { transfer, mut opened, stalls, whole } in streams {
        let (after, whole) = match whole {
            Some(whole) => (0, whole),
            None => opened.drain(),
        };
        ensure!(!whole && after < UNDER_WAY, "{after} bytes came after the cut, stalled: {stalls}");
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let again = connector.peer.get(&transfer.address.path, &headers)?;
        ensure!(again.status == 403, "asked again: {again:?}");
        let reason = String::from_utf8_lossy(&again.body);
        ensure!(reason.contains(told), "`{told}` is not what it hears: {reason}");
    }
    Ok(())
}

#[test]
fn each_change_of_its_ground_cuts_a_transfer_with_the_clause_and_no_other() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        let partner = supplier.path("partners").join("a.toml");
        edit(&partner, |before| {
            let before = before.replace("groups = [", "groups = [\"members\", ");
            with_credential(&before, None)
        })?;
        supplier.activate(&[
            ("grouped", &when("recipient isPartOf members")),
            ("credible", &when("Membership eq active")),
        ])?;
        let datasets = [
            ("by-group", "grouped"),
            ("by-credential", "credible"),
            ("by-restriction", "open"),
            ("by-state", "open"),
        ];
        for (dataset, policy) in datasets {
            supplier.publish(&source, dataset, policy)?;
        }
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let [group, credential, restriction, state] =
            datasets.map(|(dataset, _)| streams(&connector, dataset));
        let none = |what: &str| {
            let found = cuts(&supplier)?;
            ensure!(found.is_empty(), "cut before {what}: {found:?}");
            Ok(())
        };
        none("anything changed")?;
        let before = Timestamp::now();
        let explained = |dataset: &str, at: Timestamp| {
            let at = at.to_string();
            let words = ["policy", "explain", "--partner", "a", "--dataset", dataset, "--at", &at];
            Ok::<_, anyhow::Error>(supplier.run(&words)?.last()?["permitted"] == true)
        };

        edit(&partner, |before| before.replace("\"members\", ", ""))?;
        ended(
            &supplier,
            &connector,
            group?,
            "`recipient isPartOf members` does not hold",
            "recipient isPartOf members",
        )?;
        assert_eq!(cuts(&supplier)?.len(), 2, "the others go on");

        edit(&partner, |before| before.split("\n[[credentials]]").next().unwrap_or("").to_owned())?;
        ended(
            &supplier,
            &connector,
            credential?,
            "`Membership eq active` does not hold",
            "Membership eq active",
        )?;
        assert_eq!(cuts(&supplier)?.len(), 4, "the others go on");
        // What the partner was then, by what is in force now and by what was.
        for dataset in ["by-group", "by-credential"] {
            assert!(explained(dataset, before)? && !explained(dataset, Timestamp::now())?);
        }

        let restrictions = "title = \"Recall\"\n[[prohibit]]\nactions = [\"use\"]\n\
                            datasets = [\"by-restriction\"]\nreason = \"recall 4711\"\n";
        supplier.policy("restrictions", restrictions)?;
        ended(&supplier, &connector, restriction?, "recall 4711", "restricts it at present")?;
        assert_eq!(cuts(&supplier)?.len(), 6, "the others go on");

        supplier.ask(&["partner", "suspend", "a", "--reason", "audit"])?;
        ended(&supplier, &connector, state?, SUSPENDED, "may not exchange data")?;
        Ok(())
    })
}

#[test]
fn what_ends_by_the_clock_cuts_with_the_clause() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting("clock", "tick_seconds", "1");
        let mut supplier = plan.make()?;
        supplier.start()?;
        let Pair { mut supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        let hour = |hours| Timestamp::now().checked_add(SignedDuration::from_hours(hours));
        let (window, valid) = (hour(1)?, hour(4)?);
        let partner = supplier.path("partners").join("a.toml");
        edit(&partner, |before| with_credential(before, Some(valid)))?;
        let timed = format!("dateTime lt {window}");
        supplier
            .activate(&[("timed", &when(&timed)), ("credible", &when("Membership eq active"))])?;
        supplier.publish(&source, "by-time", "timed")?;
        supplier.publish(&source, "by-credential", "credible")?;
        customer.stop()?;
        supplier.stop()?;
        let mut node = ClockedNode::start(&supplier)?;
        let connector = Connector::play(&customer, &supplier)?;
        let [time, credential] =
            ["by-time", "by-credential"].map(|dataset| streams(&connector, dataset));
        let (time, credential) = (time?, credential?);

        node.clock.pass(2 * 3600);
        ended(&supplier, &connector, time, &format!("`{timed}` does not hold"), &timed)?;
        assert_eq!(cuts(&supplier)?.len(), 2, "the credential is valid still");
        node.clock.pass(3 * 3600);
        let ends = format!("MembershipCredential of did:web:authority.example ended at {valid}");
        ended(&supplier, &connector, credential, &ends, "Membership eq active")?;
        node.stop()
    })
}

#[test]
fn the_node_that_fetches_is_the_one_of_its_certificate() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, 1024, "source")?;
        // Both names are the customer's; only one node has the second.
        let partner = supplier.path("partners").join("a.toml");
        let second = "urn:example:node:2";
        edit(&partner, |before| {
            before.replace("san_uris = [", &format!("san_uris = [\"{second}\", "))
        })?;
        supplier.activate(&[("bound", &when(&format!("systemDevice eq {second}")))])?;
        supplier.publish(&source, "one", "bound")?;
        customer.stop()?;
        let mut connector = Connector::play(&customer, &supplier)?;
        let agreed = connector.negotiate("one", None)?;
        let refused = connector.post("/transfers/request", &connector.transfer_request(&agreed))?;
        assert_eq!(refused.status, 400, "{refused:?}");
        let reason = refused.json()?.to_string();
        assert!(reason.contains("systemDevice") && reason.contains("certificate"), "{reason}");

        let first = Peer::of(&customer, &supplier)?;
        let minted = Authority::of_trial(&customer)?.mint(second)?;
        connector.peer = Peer::new(Some(minted), supplier.address())?;
        let transfer = connector.transfer(&agreed)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let data = connector.peer.get(&transfer.address.path, &headers)?;
        assert_eq!((data.status, data.body.len()), (200, 1024));
        // The token is the participant's, and the agreement binds the node that reads.
        assert_eq!(first.get(&transfer.address.path, &headers)?.status, 403);
        let explained = |node: &str| {
            let words = ["policy", "explain", "--partner", "a", "--dataset", "one", "--node", node];
            Ok::<_, anyhow::Error>(supplier.run(&words)?.last()?["permitted"] == true)
        };
        assert!(explained(second)? && !explained("urn:example:node:1")?);
        Ok(())
    })
}
