//! EDC asks the node: it is the consumer.

use anyhow::{Context as _, Result, ensure};
use integration_tests::connector::{BASE, array};
use integration_tests::edc::{self, Counterparty, PROTOCOL};
use integration_tests::wait;
use serde_json::{Value, json};

use crate::stage::{Ids, Kind, LIMIT, PARTNER, SHELF, Stage, same, text};
use crate::tally::Tally;

/// All steps.
pub(crate) fn play(stage: &Stage, tally: &mut Tally) {
    let edc = Consumer(stage);
    let Some(catalog) = tally.step("EDC asks our catalog", || edc.catalog()) else { return };
    for dataset in ["ours-open", "ours-dated"] {
        let agreement = agreed(&edc, tally, &catalog, dataset);
        if let Some(agreement) = agreement {
            tally.step(&format!("EDC pulls `{dataset}`"), || edc.pull(&agreement));
        }
    }
    tally.step("EDC asks for what is not for it", || edc.is_hidden(&catalog));
    if let Some(agreement) = agreed(&edc, tally, &catalog, "ours-once") {
        tally.step("EDC pulls `ours-once`, which one delivery uses up", || edc.pull(&agreement));
        tally.step("EDC asks for a second delivery", || edc.is_used_up(&agreement));
    }
    tally.step("we deny what EDC negotiates", || edc.is_denied(&catalog));
    tally.step("EDC ends what it negotiates", || edc.withdraws(&catalog));
    let Some(agreement) = agreed(&edc, tally, &catalog, "ours-open") else { return };
    tally.step("EDC's pull is suspended and resumed by us", || edc.we_suspend(&agreement));
    tally.step("EDC suspends and resumes its pull", || edc.it_suspends(&agreement));
    tally.step("EDC terminates its pull", || edc.it_terminates(&agreement));
    tally.step("we terminate EDC's pull", || edc.we_terminate(&agreement));
    tally.step("EDC has `ours-open` pushed to it", || edc.push(&agreement));
    tally.step("we end the agreement, and EDC asks again", || edc.we_end(&agreement));
}

fn agreed(edc: &Consumer<'_>, tally: &mut Tally, catalog: &Value, dataset: &str) -> Option<String> {
    tally.step(&format!("EDC negotiates `{dataset}`"), || {
        let agreement = edc.negotiate(catalog, dataset)?;
        Ok((format!("agreement {agreement}"), agreement))
    })
}

/// What EDC's operator does.
struct Consumer<'a>(&'a Stage);

impl Consumer<'_> {
    /// Our node, as EDC reaches it.
    fn node(&self) -> Counterparty {
        Counterparty {
            address: format!("http://{}{BASE}", self.0.addresses.for_peer),
            participant: self.0.node.participant().to_owned(),
        }
    }

    fn post(&self, path: &str, document: Value) -> Result<Value> {
        self.0.runtime.block_on(self.0.edc.post(path, document))
    }

    fn catalog(&self) -> Result<(String, Value)> {
        let catalog = self.0.runtime.block_on(self.0.edc.catalog(&self.node(), 50))?;
        let sets = array(&catalog, "/dataset");
        let ids = sets.iter().map(|set| text(set, "@id")).collect::<Result<Vec<_>>>()?;
        for expected in ["ours-open", "ours-dated", "ours-once", "ours-manual"] {
            ensure!(ids.iter().any(|id| id == expected), "no `{expected}` in {catalog}");
        }
        ensure!(!ids.iter().any(|id| id == "ours-others"), "`ours-others` is in {catalog}");
        Ok((format!("it shows {}, and not `ours-others`", ids.join(", ")), catalog))
    }

    /// Requests an offer; EDC's id of the negotiation.
    fn request(&self, offer: Value, dataset: &str) -> Result<String> {
        self.0.runtime.block_on(self.0.edc.request(&self.node(), offer, dataset))
    }

    /// Requests what the catalog offers, as it is.
    fn request_offered(&self, catalog: &Value, dataset: &str) -> Result<String> {
        self.request(edc::offer(catalog, dataset)?, dataset)
    }

    /// Negotiates to the end; the agreement's id.
    fn negotiate(&self, catalog: &Value, dataset: &str) -> Result<String> {
        let negotiation = self.request_offered(catalog, dataset)?;
        let ended = self.0.edc_reaches(Kind::Negotiation, &negotiation, "FINALIZED")?;
        text(&ended, "contractAgreementId")
    }

    /// Begins a transfer; EDC's id of it.
    fn transfer(&self, agreement: &str, format: &str, target: Option<Value>) -> Result<String> {
        let request = json!({
            "@type": "TransferRequest",
            "counterPartyAddress": self.node().address,
            "contractId": agreement,
            "protocol": PROTOCOL,
            "transferType": format,
            "dataDestination": target,
        });
        text(&self.post("/transferprocesses", request)?, "@id")
    }

    /// Begins a pull and waits until it may read.
    fn started(&self, agreement: &str) -> Result<Ids> {
        let edc = self.transfer(agreement, "HttpData-PULL", None)?;
        self.0.edc_reaches(Kind::Transfer, &edc, "STARTED")?;
        let node = text(&self.0.latest(Kind::Transfer, "agreement", agreement)?, "id")?;
        Ok(Ids { edc, node })
    }

    /// The address and token that EDC has for a transfer.
    fn access(&self, transfer: &str) -> Result<(String, String)> {
        let path = format!("/edrs/{transfer}/dataaddress");
        let address = wait::until("EDC has the data address", LIMIT, || {
            Ok(self.0.runtime.block_on(self.0.edc.get(&path)).ok())
        })?;
        Ok((text(&address, "endpoint")?, text(&address, "authorization")?))
    }

    /// Reads with what EDC has; the bytes must be those that we published.
    fn read(&self, transfer: &str) -> Result<String> {
        let (endpoint, token) = self.access(transfer)?;
        let (status, bytes) = self.0.fetch(&endpoint, &token)?;
        ensure!(status == 200, "{endpoint} answered {status}: {}", String::from_utf8_lossy(&bytes));
        same(&bytes, &self.0.ours)
    }

    /// What is read with a token must not be data.
    fn reads_nothing(&self, access: &(String, String), expected: u16) -> Result<()> {
        let (status, bytes) = self.0.fetch(&access.0, &access.1)?;
        let shown = String::from_utf8_lossy(bytes.get(..300.min(bytes.len())).unwrap_or_default());
        ensure!(
            status == expected,
            "{} answered {status} instead of {expected}: {shown}",
            access.0
        );
        Ok(())
    }

    fn pull(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        Ok((self.read(&ids.edc)?, ()))
    }

    /// A process of EDC's must end with a refusal; what EDC says of it.
    fn refused(&self, kind: Kind, id: &str, words: &str) -> Result<String> {
        let ended = self.0.edc_reaches(kind, id, "TERMINATED")?;
        let detail = ended.get("errorDetail").and_then(Value::as_str).unwrap_or_default();
        ensure!(detail.contains(words), "EDC does not say `{words}`: {ended}");
        Ok(detail.to_owned())
    }

    fn is_hidden(&self, catalog: &Value) -> Result<(String, ())> {
        let negotiation = self.request(edc::offer(catalog, "ours-open")?, "ours-others")?;
        // EDC's own account is of the termination that it then fails to send, for a process without an id of ours.
        self.0.edc_reaches(Kind::Negotiation, &negotiation, "TERMINATED")?;
        let answer = self.0.gateway.last("404 Not Found to POST /dsp/2025-1/negotiations/request");
        let answer = answer.context("our node did not answer 404")?;
        ensure!(answer.contains(&negotiation) && answer.contains("not-found"), "{answer}");
        Ok((format!("EDC's negotiation is TERMINATED; we answered {answer}"), ()))
    }

    fn is_used_up(&self, agreement: &str) -> Result<(String, ())> {
        let transfer = self.transfer(agreement, "HttpData-PULL", None)?;
        let detail = self.refused(Kind::Transfer, &transfer, "policy")?;
        Ok((format!("EDC says: {detail}"), ()))
    }

    /// A negotiation that waits for our operator.
    fn waiting(&self, catalog: &Value) -> Result<Ids> {
        let edc = self.request_offered(catalog, "ours-manual")?;
        self.0.edc_reaches(Kind::Negotiation, &edc, "REQUESTED")?;
        let shown = self.0.latest(Kind::Negotiation, "dataset", "ours-manual")?;
        Ok(Ids { edc, node: text(&shown, "id")? })
    }

    fn is_denied(&self, catalog: &Value) -> Result<(String, ())> {
        let ids = self.waiting(catalog)?;
        self.0.step(Kind::Negotiation, &ids.node, "terminate")?;
        self.0.both_reach(Kind::Negotiation, &ids, "TERMINATED")?;
        Ok((format!("both have {} TERMINATED", ids.node), ()))
    }

    fn withdraws(&self, catalog: &Value) -> Result<(String, ())> {
        let ids = self.waiting(catalog)?;
        self.0.edc_step(Kind::Negotiation, &ids.edc, "terminate")?;
        self.0.both_reach(Kind::Negotiation, &ids, "TERMINATED")?;
        Ok((format!("both have {} TERMINATED", ids.node), ()))
    }

    fn we_suspend(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        let before = self.access(&ids.edc)?;
        self.0.step(Kind::Transfer, &ids.node, "suspend")?;
        self.0.both_reach(Kind::Transfer, &ids, "SUSPENDED")?;
        self.reads_nothing(&before, 503)?;
        self.0.step(Kind::Transfer, &ids.node, "resume")?;
        self.0.both_reach(Kind::Transfer, &ids, "STARTED")?;
        let read = self.read_again(&ids.edc, &before)?;
        Ok((format!("503 while suspended; then {read}"), ()))
    }

    fn it_suspends(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        let before = self.access(&ids.edc)?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "suspend")?;
        self.0.both_reach(Kind::Transfer, &ids, "SUSPENDED")?;
        self.reads_nothing(&before, 503)?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "resume")?;
        self.0.both_reach(Kind::Transfer, &ids, "STARTED")?;
        let read = self.read_again(&ids.edc, &before)?;
        Ok((format!("503 while suspended; then {read}"), ()))
    }

    /// Reads with the token that came with the resumption.
    fn read_again(&self, transfer: &str, before: &(String, String)) -> Result<String> {
        wait::until("EDC has the new token", LIMIT, || {
            Ok((self.access(transfer)?.1 != before.1).then_some(()))
        })?;
        self.read(transfer)
    }

    fn it_terminates(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        let access = self.access(&ids.edc)?;
        self.0.edc_step(Kind::Transfer, &ids.edc, "terminate")?;
        self.0.both_reach(Kind::Transfer, &ids, "TERMINATED")?;
        self.reads_nothing(&access, 404)?;
        Ok(("both are TERMINATED; the token opens nothing any more (404)".to_owned(), ()))
    }

    fn we_terminate(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        let access = self.access(&ids.edc)?;
        self.0.step(Kind::Transfer, &ids.node, "terminate")?;
        self.0.both_reach(Kind::Transfer, &ids, "TERMINATED")?;
        self.reads_nothing(&access, 404)?;
        Ok(("both are TERMINATED; the token opens nothing any more (404)".to_owned(), ()))
    }

    /// An endpoint of an application behind EDC, given as the protocol writes a data address.
    fn push(&self, agreement: &str) -> Result<(String, ())> {
        let path = format!("{SHELF}/pushed");
        let target = json!({
            "type": "https://w3id.org/idsa/v4.1/HTTP",
            "endpoint": format!("https://{}{path}", self.0.addresses.for_node),
            "authorization": "the-application-s-own-token",
            "authType": "bearer",
        });
        let transfer = self.transfer(agreement, "HttpData-PUSH", Some(target))?;
        self.0.edc_reaches(Kind::Transfer, &transfer, "COMPLETED")?;
        let bytes = self.0.shelf.find(&path).context("nothing was put there")?;
        Ok((same(&bytes, &self.0.ours)?, ()))
    }

    fn we_end(&self, agreement: &str) -> Result<(String, ())> {
        let ids = self.started(agreement)?;
        let reason = "the project ended";
        self.0.node.ask(&["agreement", "end", agreement, "--reason", reason])?;
        self.0.both_reach(Kind::Transfer, &ids, "TERMINATED")?;
        let transfer = self.transfer(agreement, "HttpData-PULL", None)?;
        let detail = self.refused(Kind::Transfer, &transfer, "agreement-ended")?;
        Ok((format!("`{PARTNER}`'s transfer is TERMINATED, and then EDC says: {detail}"), ()))
    }
}
