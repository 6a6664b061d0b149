//! The command line's tree.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use ipnet::IpNet;
use protocol::id::{DatasetId, ParticipantId};

pub(super) use super::policy::arguments::{Policy, Terms};
use crate::config::PublicUrl;

const FIRST_STEPS: &str = "\
First steps:
  sekisho init a --participant did:web:a.example --name 'A Corp' --dns a.example --trial-ca
  sekisho --site a check
  sekisho --site a serve
  sekisho --site a partner card > a.card          give it to the partner
  sekisho --site a partner add b.card             and take the partner's
  sekisho --site a dataset publish parts.json --id parts --title 'Parts' --policy customers
  sekisho --site a catalog b
  sekisho --site a pull b footprint -o footprint.json --purpose cfp-reporting

Exit codes tell scripts how a command ended: see `sekisho exit-codes`.";

/// A data-space connector: partners' sites exchange files under usage policies, and both sides keep evidence.
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, after_long_help = FIRST_STEPS, max_term_width = 120)]
pub struct Arguments {
    /// The site's directory.
    #[arg(long, global = true, env = "SEKISHO_SITE", default_value = ".", value_hint = ValueHint::DirPath)]
    pub site: PathBuf,
    /// Write results, events and errors as JSON, one value on each line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "the commands are documented at their type")]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new site: configuration, keys, and certificates or requests for them.
    #[command(after_long_help = "\
Examples:
  sekisho init a --participant did:web:a.example --name 'A Corp' --dns a.example --trial-ca
  sekisho init a --participant did:web:a.example --name 'A Corp' --dns a.example --csr

With --trial-ca the site has a certificate authority of its own, for evaluation. With --csr your company's authority signs the
requests in pki/, and `sekisho pki install` takes its answer.")]
    Init(Init),
    /// Check configuration, keys, partners and policies, and report everything that is wrong.
    Check,
    /// Run the daemon of a site until a signal stops it.
    #[command(after_long_help = "\
SIGTERM or SIGINT lets running transfers end, up to `partner_listener.drain_seconds`; a second signal stops at once. A wrong
configuration ends with exit code 64 before any port is bound.")]
    Serve,
    /// Make everything that is derived from the journal anew: snapshots, trees and the index. Not while the daemon runs.
    Rebuild,
    /// Keys and certificates.
    #[command(subcommand)]
    Pki(Pki),
    /// Partners: who may talk to this site.
    #[command(subcommand)]
    Partner(Partner),
    /// Datasets that this site publishes.
    #[command(subcommand)]
    Dataset(Dataset),
    /// Show what a partner offers us.
    Catalog(Catalog),
    /// Get a dataset from a partner: agree a contract, transfer, verify.
    #[command(after_long_help = "\
Example:
  sekisho pull b-sha footprint -o footprint.json --purpose cfp-reporting

The file appears only when it is whole and verified; FILE.prov beside it is the evidence, which anybody can verify offline.
Interrupted, the same command continues where it was; `sekisho pulls cancel` ends it for good.")]
    Pull(Pull),
    /// The pulls of this site, those that are over included.
    #[command(subcommand)]
    Pulls(Pulls),
    /// Negotiations with partners, step by step.
    #[command(subcommand)]
    Negotiation(Negotiation),
    /// What waits for a decision of yours.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Duties of agreements: what has to be done until when, and that it was done.
    #[command(subcommand)]
    Duty(Duty),
    /// Agreements with partners.
    #[command(subcommand)]
    Agreement(Agreement),
    /// Transfers to and from partners.
    #[command(subcommand)]
    Transfer(Transfer),
    /// Messages that were given up: a partner refused them for good, or did not take them in time.
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// What happened to negotiations, agreements, their duties, transfers and pulls, as applications are told.
    #[command(after_long_help = "\
Examples:
  sekisho events                                  everything that is in the journal
  sekisho events --follow                         what happens from now on
  sekisho events --follow --from 4096.2           what happened after that position, and goes on")]
    Events(Events),
    /// The journal: what happened, and proof that nobody changed it.
    #[command(subcommand)]
    Audit(Audit),
    /// Evidence of what was received: verified offline.
    #[command(subcommand)]
    Provenance(Provenance),
    /// Usage policies: what rules, what it means, and changing it.
    #[command(subcommand)]
    Policy(Policy),
    /// Keys with which applications and remote administrators use the management API (`management.bind`).
    #[command(subcommand)]
    Key(Key),
    /// Say what may be done with a received file: for which purposes, until when, and what must be done by when.
    Terms(Terms),
    /// Show the running daemon's state.
    Status,
    /// The wall clock.
    #[command(subcommand)]
    Clock(Clock),
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// List the exit codes.
    ExitCodes,
    /// Print the OpenAPI 3.1 description of the management API, for generators of clients.
    Openapi,
}

/// `provenance`.
#[derive(Debug, Subcommand)]
pub enum Provenance {
    /// Verify a file by the evidence beside it, offline.
    #[command(after_long_help = "\
Examples:
  sekisho provenance verify footprint.json --card b.card
  sekisho provenance verify footprint.json --prov copy.prov --anchor b-authority.pem
  sekisho --site a provenance verify footprint.json        with the partners that site a knows")]
    Verify(ProvenanceVerify),
    /// Show what the evidence says, without verifying it.
    Show {
        /// The file, or its evidence.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// `provenance verify`.
#[derive(Debug, Args)]
pub struct ProvenanceVerify {
    /// The file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Its evidence; else FILE.prov.
    #[arg(long = "prov", value_hint = ValueHint::FilePath)]
    pub provenance: Option<PathBuf>,
    /// Certificates (PEM) of an authority that is trusted to name participants. Can be given several times.
    #[arg(long = "anchor", value_hint = ValueHint::FilePath)]
    pub anchors: Vec<PathBuf>,
    /// A participant's card, whose fingerprint was compared: trusted to speak for that participant. Can be given several times.
    #[arg(long = "card", value_hint = ValueHint::FilePath)]
    pub cards: Vec<PathBuf>,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The directory to make; it must not exist or be empty.
    #[arg(value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// The participant id: a URI that names this company or site for ever, such as `did:web:site.example`.
    #[arg(long)]
    pub participant: ParticipantId,
    /// The name for people.
    #[arg(long)]
    pub name: String,
    /// A DNS name under which partners reach the site; may be repeated.
    #[arg(long = "dns", value_name = "NAME")]
    pub dns_names: Vec<String>,
    /// An address under which partners reach the site; may be repeated.
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub addresses: Vec<IpAddr>,
    /// Make a certificate authority for this site alone. For evaluation only.
    #[arg(long, conflicts_with = "csr", required_unless_present = "csr")]
    pub trial_ca: bool,
    /// Make certificate signing requests for your company's authority.
    #[arg(long)]
    pub csr: bool,
    /// The port for partners.
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// The address that the partner listener binds.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind: IpAddr,
    /// The base URL that partners are told; else made from the first name and the port.
    #[arg(long)]
    pub public_url: Option<PublicUrl>,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub status_bind: SocketAddr,
    /// ODS operator id, for the card.
    #[arg(long)]
    pub operator_id: Option<String>,
}

/// `pki`.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Print the certificate signing requests, for your company's authority.
    Requests,
    /// Check and install the authority's answer: leaves, intermediates and anchors, PEM or DER, in any order.
    Install {
        /// The files of the answer.
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Show keys and certificates.
    Show,
    /// Have the trial authority sign the same keys again.
    Renew,
}

/// `partner`.
#[derive(Debug, Subcommand)]
pub enum Partner {
    /// Write this site's card, to be given to partners. Each has a greater number than the one before.
    Card {
        /// Where to write it; else to standard output.
        #[arg(short, long, value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Register or update a partner by its card.
    #[command(after_long_help = "\
Example:
  sekisho partner add b.card --name b-sha --group suppliers --region JP

Compare the fingerprint with the partner over another channel, such as the telephone, before you say yes: whoever could change
the card on its way could change everything in it.")]
    Add(PartnerAdd),
    /// List partners.
    List(Listing),
    /// Show a partner.
    Show {
        /// Its short name.
        name: String,
    },
    /// Reach a partner: its name is resolved, its address dialled, its certificate proven, and it is asked which versions of
    /// the protocol it serves.
    Check {
        /// Its short name or participant id.
        name: String,
    },
    /// Shut a partner out at once; running transfers are cut.
    Suspend(NamedReason),
    /// Let a suspended partner in again.
    Resume(NamedReason),
    /// End the exchange with a partner: everything open ends, it is told, and what it asks later is refused.
    Offboard {
        /// Its short name.
        name: String,
        /// Why: for the journal, and for the partner.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show what data of a partner, or of all, this site holds, and what data of ours they hold.
    #[command(after_long_help = "\
Examples:
  sekisho partner holdings b
  sekisho partner holdings --where kind=received --where kept!=taken
  sekisho partner holdings b --where dataset~cfp --order=-size")]
    Holdings {
        /// Its short name; else all partners.
        name: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Remove a partner. What happened with it stays in the journal.
    Remove {
        /// Its short name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// `partner add`.
#[derive(Debug, Args)]
pub struct PartnerAdd {
    /// The card.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The short name to use here; else made from the participant id.
    #[arg(long)]
    pub name: Option<String>,
    /// A group for policies; may be repeated.
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// The country that you declare it to be in (ISO 3166-1, two letters).
    #[arg(long)]
    pub region: Option<String>,
    /// A network of private or loopback addresses in which it may be dialled; may be repeated.
    #[arg(long = "network")]
    pub networks: Vec<IpNet>,
    /// Accept a new partner only with this fingerprint; spaces and case do not matter.
    #[arg(long)]
    pub fingerprint: Option<String>,
    /// Do not ask. For a new partner give `--fingerprint` too.
    #[arg(long)]
    pub yes: bool,
}

/// A name and a reason for the journal.
#[derive(Debug, Args)]
pub struct NamedReason {
    /// The short name, or id.
    pub name: String,
    /// Why, for the journal.
    #[arg(long)]
    pub reason: Option<String>,
}

/// `dataset`.
#[derive(Debug, Subcommand)]
pub enum Dataset {
    /// Publish a file, or a new version of it.
    #[command(after_long_help = "\
Example:
  sekisho dataset publish footprint.json --id cfp-part-b --title 'Carbon footprint of part B' --policy customers

You are shown who will see it before anything happens. The file is copied; with --in-place it stays where it is, and when it is
changed there it is no longer served until it is published again.")]
    Publish(Box<Publish>),
    /// Publish many files by a list, or new versions of them.
    #[command(after_long_help = "\
Example:
  sekisho dataset publish-list parts.jsonl

Each line of the list is a JSON object with the members `path` (relative to the list), `id` and `title`, and as wanted
`description`, `version`, `language`, `licence`, `confidentiality`, `tags`, `policies`, `media_type` and `in_place`.

Before anything happens the list is read through, and you are shown how many of it each partner will see. Then it is published
in groups of up to 1,000 lines, each whole or not at all. A line that is published already, unchanged, is passed over: after an
interruption the same command goes on where it was, and --from LINE does so without reading the files before it again.")]
    PublishList(PublishList),
    /// List datasets.
    List(Listing),
    /// Show a dataset.
    Show {
        /// Its id.
        id: DatasetId,
    },
    /// Offer and serve a dataset no longer.
    Withdraw(NamedReason),
}

/// `dataset publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// The file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// The id in the catalog.
    #[arg(long)]
    pub id: DatasetId,
    /// The title, for people.
    #[arg(long)]
    pub title: String,
    /// A policy under which it is offered (the name of a file in policies/); may be repeated.
    #[arg(long = "policy")]
    pub policies: Vec<String>,
    /// A tag, which policies can select; may be repeated.
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// A longer description.
    #[arg(long)]
    pub description: Option<String>,
    /// The version; else counted up.
    #[arg(long = "dataset-version", value_name = "VERSION")]
    pub version: Option<String>,
    /// The language (BCP 47), such as `ja`.
    #[arg(long)]
    pub language: Option<String>,
    /// The licence, as an IRI or text.
    #[arg(long)]
    pub licence: Option<String>,
    /// A confidentiality label.
    #[arg(long)]
    pub confidentiality: Option<String>,
    /// The media type; else guessed from the file's name.
    #[arg(long)]
    pub media_type: Option<String>,
    /// Leave the file where it is and verify each block as it is served.
    #[arg(long)]
    pub in_place: bool,
    /// The evidence (FILE.prov) of received data that it was made from; may be repeated. The agreements on those must let it be
    /// passed on, and its policies must be as strict.
    #[arg(long, value_name = "FILE.prov", value_hint = ValueHint::FilePath)]
    pub derived_from: Vec<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// `dataset publish-list`.
#[derive(Debug, Args)]
pub struct PublishList {
    /// The list: one JSON object on each line.
    #[arg(value_hint = ValueHint::FilePath)]
    pub list: PathBuf,
    /// The first line that is published.
    #[arg(long = "from", value_name = "LINE", default_value_t = 1)]
    pub from: u64,
    /// Neither read it through first nor ask.
    #[arg(long)]
    pub yes: bool,
}

/// `catalog`.
#[derive(Debug, Args)]
pub struct Catalog {
    /// The partner's short name.
    pub partner: String,
    /// Show only what has all of these words in id, title, description or tags.
    #[arg(long)]
    pub filter: Option<String>,
    /// Show only what has this tag; may be repeated, one is enough.
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// Show only what is of this media type.
    #[arg(long)]
    pub media_type: Option<String>,
    /// Send this as the `filter` of the CatalogRequestMessage, as the partner's connector wants it, in JSON; what it
    /// means is theirs to say.
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub dsp_filter: Option<serde_json::Value>,
    /// How many datasets to show at most (up to 10,000).
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
    /// Show what follows: the `next` of an answer (`--json`), with the same question.
    // A cursor is base64url, and may begin with a hyphen.
    #[arg(long, allow_hyphen_values = true)]
    pub cursor: Option<String>,
}

/// A JSON document. Named, as a text would be taken for a document as well.
fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// The partner's short name.
    pub partner: String,
    /// The dataset's id.
    pub dataset: DatasetId,
    /// Where to write it; else under the provider's name for it.
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// What you use it for, where the policy asks.
    #[arg(long)]
    pub purpose: Option<String>,
    /// Let the partner send the bytes to us (`HttpData-PUSH`), instead of us asking it for them.
    #[arg(long)]
    pub push: bool,
    /// How long to wait for a partner, or a daemon, that is away, in seconds.
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 60)]
    pub wait_seconds: u64,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// How much of a list is shown.
#[derive(Debug, Clone, Args)]
pub struct Listing {
    /// Only what this holds of: a member of the list as `--json` shows it, a sign (= != < <= > >=, or ~ for contains) and
    /// a value, such as `state=STARTED`; may be repeated, and all must hold.
    #[arg(long = "where", value_name = "CRITERION")]
    pub criteria: Vec<String>,
    /// How many at most.
    #[arg(long, default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
    /// The member to order by, with `-` before it from the greatest down.
    #[arg(long, value_name = "MEMBER", allow_hyphen_values = true)]
    pub order: Option<String>,
}

/// `pulls`.
#[derive(Debug, Subcommand)]
pub enum Pulls {
    /// List the newest.
    List(Listing),
    /// Show one.
    Show {
        /// Its id.
        id: String,
    },
    /// End one: the partner is told, and what was received of it is removed.
    Cancel {
        /// Its id.
        id: String,
        /// Why: for the journal, and for the partner.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// `transfer`.
#[derive(Debug, Subcommand)]
pub enum Transfer {
    /// List them, with the steps that are possible now.
    List(Listing),
    /// Show one.
    Show {
        /// Its id.
        id: String,
    },
    /// Request data under an agreement, outside of a pull: the transfer is then driven by the steps below.
    Request {
        /// The partner's short name.
        partner: String,
        /// The agreement, which we hold as consumer.
        agreement: String,
        /// The transfer format; else `HttpData-PULL`.
        #[arg(long)]
        format: Option<String>,
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Grant what was requested and waits for a decision.
    Start(TransferStep),
    /// Stop the data for now; only we can resume it.
    Suspend(TransferStep),
    /// Go on after we suspended.
    Resume(TransferStep),
    /// End it well.
    Complete(TransferStep),
    /// End it early.
    Terminate(TransferStep),
}

/// A step in a transfer.
#[derive(Debug, Args)]
pub struct TransferStep {
    /// The transfer's id.
    pub id: String,
    /// Why: for the journal, and of a suspension or termination for the partner too.
    #[arg(long)]
    pub reason: Option<String>,
    /// A code for the partner's programs, of a suspension or termination.
    #[arg(long)]
    pub code: Option<String>,
}

/// `negotiation`.
#[derive(Debug, Subcommand)]
pub enum Negotiation {
    /// List them.
    List(Listing),
    /// Show one: its terms, what waits, and the steps that are possible.
    Show {
        /// Its id.
        id: String,
    },
    /// Ask a partner for an agreement about a dataset of its.
    #[command(after_long_help = "\
Examples:
  sekisho negotiation request b footprint --purpose cfp-reporting --manual
  sekisho negotiation request b footprint --offer urn:example:offer --terms terms.json

Without --terms the offer is looked up in the partner's catalog; with it nothing is looked up. With --manual each further step of
ours waits for you (`sekisho approvals list`).")]
    Request(NegotiationBegin),
    /// Offer a dataset of ours to a partner that did not ask.
    #[command(after_long_help = "\
Examples:
  sekisho negotiation offer b parts
  sekisho negotiation offer b parts --terms special.json --reason 'as agreed with Ms Tanaka'

What is offered is judged like any other: a policy that refuses the partner now refuses the offer.")]
    Offer(NegotiationBegin),
    /// Answer with other terms: as consumer a counter-request, as provider an offer.
    Counter {
        /// The negotiation's id.
        id: String,
        /// The terms: an ODRL policy as JSON. As provider without: the published offer.
        #[arg(long, value_hint = ValueHint::FilePath)]
        terms: Option<PathBuf>,
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
    },
    /// As consumer: accept the offer.
    Accept(NegotiationStep),
    /// As provider: send the agreement on the terms as they stand.
    Agree {
        /// The negotiation's id.
        id: String,
        /// The terms once more, where they are the partner's own: an ODRL policy as JSON.
        #[arg(long, value_hint = ValueHint::FilePath)]
        terms: Option<PathBuf>,
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
    },
    /// As consumer: verify the agreement.
    Verify(NegotiationStep),
    /// As provider: put the agreement in force.
    Finalize(NegotiationStep),
    /// End it, and tell the partner why.
    Terminate {
        /// The negotiation's id.
        id: String,
        /// A code for the partner's programs.
        #[arg(long)]
        code: Option<String>,
        /// Why, for the partner and the journal.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// The beginning of a negotiation.
#[derive(Debug, Args)]
pub struct NegotiationBegin {
    /// The partner's short name.
    pub partner: String,
    /// The dataset's id.
    pub dataset: DatasetId,
    /// The offer's id; else the first that fits.
    #[arg(long)]
    pub offer: Option<String>,
    /// The terms in place of the published ones: an ODRL policy as JSON.
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub terms: Option<PathBuf>,
    /// What it is used for, where the policy asks.
    #[arg(long)]
    pub purpose: Option<String>,
    /// Let each further step of ours wait for a decision.
    #[arg(long)]
    pub manual: bool,
    /// Why, for the journal.
    #[arg(long)]
    pub reason: Option<String>,
}

/// A step in a negotiation.
#[derive(Debug, Args)]
pub struct NegotiationStep {
    /// The negotiation's id.
    pub id: String,
    /// Why, for the journal.
    #[arg(long)]
    pub reason: Option<String>,
}

/// `approvals`.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// List what waits for a decision, the most urgent first.
    List(Listing),
    /// Approve: take the step that leads on.
    Approve {
        /// Its id.
        id: String,
        /// Why, for the journal. The partner is not told.
        #[arg(long)]
        reason: String,
    },
    /// Deny: end it. The partner is told that it was denied, and not why.
    Deny {
        /// Its id.
        id: String,
        /// Why, for the journal. The partner is not told.
        #[arg(long)]
        reason: String,
    },
}

/// `duty`.
#[derive(Debug, Subcommand)]
pub enum Duty {
    /// List those that still have to be done, by deadline.
    #[command(after_long_help = "\
STATE is `pending` (it has to be done), `violated` (it was not done in time; nothing more is released until it is made good),
`fulfilled`, `inactive` (its condition does not hold, or what it would follow from did not happen), or `not-understood`.
NAME is the duty's place in the agreed policy, the same on both nodes. A question mark after the state: whether its condition
holds cannot be known here, so it counts as owed.")]
    List {
        /// Those that were done, and those that are not owed, as well.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Record that one was fulfilled.
    #[command(after_long_help = "\
Example:
  sekisho duty fulfil urn:uuid:… obligation-1 --how 'erased with the backups of March, ticket 4711'

Who recorded it, when and how goes into the journal. A duty that was not done in time refuses new transfers of its dataset
until it is recorded as done, and what it must be made good with as well. Each node tracks duties by its own records: what the
partner records is not asked.")]
    Fulfil {
        /// The agreement's id.
        agreement: String,
        /// The name of the duty, as `duty list` shows it.
        name: String,
        /// How it was fulfilled: for the journal.
        #[arg(long)]
        how: String,
        /// What its refinements ask for, such as `payAmount=500`; may be given several times.
        #[arg(long = "fact", value_name = "NAME=VALUE")]
        facts: Vec<String>,
    },
    /// Record that a prohibition of an agreement was infringed: its remedies are owed from then on.
    #[command(after_long_help = "\
Example:
  sekisho duty infringed urn:uuid:… prohibition-1 --at 2026-03-01T09:00:00+09:00 --how 'our drawing was in their offer 4711'

No node can see what was done with data that left it, and what it could see it refuses: so a person records an infringement, on
either side, who says what was done and how it is known. The remedies that the prohibition names become duties with deadlines
that count from the infringement. A remedy that is owed still from before keeps its deadline.")]
    Infringed {
        /// The agreement's id.
        agreement: String,
        /// The prohibition: its place in the agreed policy, such as `prohibition-1`.
        prohibition: String,
        /// What was done, and how it is known: for the journal.
        #[arg(long)]
        how: String,
        /// When, RFC 3339; now, where it is not given.
        #[arg(long)]
        at: Option<jiff::Timestamp>,
    },
}

/// `agreement`.
#[derive(Debug, Subcommand)]
pub enum Agreement {
    /// List them.
    List(Listing),
    /// Show one, with its terms.
    Show {
        /// Its id.
        id: String,
    },
    /// Take an agreement that was made elsewhere, such as on paper or by another connector.
    #[command(after_long_help = "\
Example:
  sekisho agreement import contract.json --partner b --side consumer --reason 'signed on paper, 2026-04-01'

The file is an ODRL agreement as in DSP: `@id`, `assigner` (the provider), `assignee` (the consumer), `target` (the dataset) and
its rules. A clause that this release does not know refuses it. As provider its dataset must be published here.")]
    Import(AgreementImport),
    /// End one: what runs under it is cut, and the partner is told by the end of its transfers.
    End {
        /// Its id.
        id: String,
        /// Why: for the journal, and for the partner.
        #[arg(long)]
        reason: String,
    },
}

/// `agreement import`.
#[derive(Debug, Args)]
pub struct AgreementImport {
    /// The agreement, JSON.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The other party's short name.
    #[arg(long)]
    pub partner: String,
    /// Our side.
    #[arg(long, value_enum)]
    pub side: Side,
    /// The consumer's process id of the negotiation that made it.
    #[arg(long)]
    pub consumer_pid: Option<String>,
    /// The provider's.
    #[arg(long)]
    pub provider_pid: Option<String>,
    /// The declared purpose; else every purpose that it names.
    #[arg(long)]
    pub purpose: Option<String>,
    /// Transfers under it wait for a decision.
    #[arg(long)]
    pub manual: bool,
    /// Why, for the journal.
    #[arg(long)]
    pub reason: String,
}

/// A side of an agreement.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Side {
    /// We provide the dataset.
    Provider,
    /// We consume it.
    Consumer,
}

/// `dead-letter`.
#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// List them, the latest last.
    List(Listing),
    /// Send one once more. Only the end of a process can be told again; a process that lacks another message is over.
    Retry {
        /// The message's id.
        id: String,
        /// Why, for the journal.
        #[arg(long)]
        reason: String,
    },
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens, until the command is stopped.
    #[arg(long)]
    pub follow: bool,
    /// The position (of an event) after which it begins; `start` is before the first.
    #[arg(long, value_name = "POSITION")]
    pub from: Option<String>,
    /// Only records of this kind; may be repeated.
    #[arg(long = "kind")]
    pub kinds: Vec<String>,
    /// Only this partner.
    #[arg(long)]
    pub partner: Option<String>,
}

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Follow new records as they are written.
    Tail {
        /// The log: `site`, or a partner's short name.
        #[arg(long)]
        log: Option<String>,
    },
    /// Show records: the newest, or from a number on.
    #[command(after_long_help = "\
Examples:
  sekisho audit show --log b --kind request-refused
  sekisho audit show --where time>=2026-11-01 --where account.agreement=urn:uuid:…
  sekisho audit show --log site --from 0 --limit 20

Their order is that of the journal: `--order position` begins with the oldest.")]
    Show {
        /// The log: `site`, or a partner's short name.
        #[arg(long)]
        log: Option<String>,
        /// The index of the first record.
        #[arg(long)]
        from: Option<u64>,
        /// The epoch of the log; else all of them, with `--from` the latest.
        #[arg(long)]
        epoch: Option<u32>,
        /// Only records of this kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only the records behind a reference that a refusal gave (`urn:uuid:…`).
        #[arg(long)]
        reference: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Verify the whole journal: frames, records, trees and checkpoints.
    Verify,
    /// Give up the logs as they are and begin new ones, after the data were restored from an old backup.
    #[command(after_long_help = "\
A node whose data are older than a checkpoint that it signed signs nothing more for the partner that holds it. If the
newer data still exist, stop the daemon and put them back. If they are lost, open a new epoch: each log begins a new
tree whose first record names the last checkpoint of the old one, with the reason and your name. Partners are told, and
keep the old checkpoint as evidence. This cannot be taken back.

Example:
  sekisho audit new-epoch --reason \"disk failure on 3 May; restored the backup of 2 May\"")]
    NewEpoch {
        /// Why, for the journal.
        #[arg(long)]
        reason: String,
        /// Although no partner has shown yet that a log is behind: after a restore while partners are away.
        #[arg(long)]
        anyway: bool,
    },
}

/// `key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key and show it once. The node keeps only its SHA-256.
    #[command(after_long_help = "\
Examples:
  sekisho key create reports --role application --partner b-sha --purpose cfp-reporting
  sekisho key create solver --role application --application https://a.example/apps/solver
  sekisho key create audit-2026 --role auditor --expires 2027-03-31

An application uses it as `Authorization: Bearer KEY` at an address of `management.bind`.")]
    Create(KeyCreate),
    /// List keys, those that ended among them.
    List(Listing),
    /// Take a key no longer; what runs under it ends at once.
    Revoke(NamedReason),
}

/// `key create`.
#[derive(Debug, Args)]
pub struct KeyCreate {
    /// Its name, which the journal shows: lower-case letters, digits and hyphens. A name is never used again.
    pub name: String,
    /// What it may do: administrator, policy-administrator, auditor or application.
    #[arg(long, value_parser = ["administrator", "policy-administrator", "auditor", "application"])]
    pub role: String,
    /// A partner that an application's key is for, else all; may be repeated.
    #[arg(long = "partner")]
    pub partners: Vec<String>,
    /// A purpose that an application may declare, else any or none; may be repeated.
    #[arg(long = "purpose")]
    pub purposes: Vec<String>,
    /// A dataset that an application's key is for, else all; may be repeated.
    #[arg(long = "dataset")]
    pub datasets: Vec<DatasetId>,
    /// The identifier (IRI) of the application, which usage policies name: data whose terms are for certain applications are
    /// handed out to keys with their identifiers only.
    #[arg(long, value_name = "IDENTIFIER")]
    pub application: Option<String>,
    /// When it expires: a date, a time, a span such as `90 days`, or `never`.
    #[arg(long, default_value = "1 year")]
    pub expires: String,
}

/// `clock`.
#[derive(Debug, Subcommand)]
pub enum Clock {
    /// Accept the wall clock as it is now, after you looked at it: permits are given again.
    Accept {
        /// Why, for the journal.
        #[arg(long)]
        reason: String,
    },
}
