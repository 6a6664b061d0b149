//! The arguments of `policy` and `terms`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use jiff::Timestamp;
use policy::explain::Language;
use policy::file::schema::Kind;

use crate::cli::arguments::Listing;

const TEST_EXAMPLE: &str = "\
Cases stand in files NAME.test.toml beside the policies:

  [[case]]
  name = \"a customer may report with it\"
  partner = \"b\"
  dataset = \"cfp-part-b\"
  purpose = \"cfp-reporting\"
  at = 2026-06-01T00:00:00+09:00
  expect = \"permit\"

A case may also say: action, uses, previous-use, agreed, node, application, done = [\"obtainConsent\"], policy and clause (which must decide). A file
may declare partners and datasets of its own under [[partner]] (name, id, groups, region, asks-applications) and [[dataset]] (id, tags, policies).
The daemon is not asked, so the command runs anywhere.";

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check policy files, say what each means, and find what is most likely a mistake. Nothing is activated.
    Check {
        /// The files; else those of the site. A file replaces the site's of the same name.
        #[arg(value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        /// End with an error where there is a warning.
        #[arg(long)]
        strict: bool,
        /// The language of policies and findings. What refuses a file is said in English.
        #[arg(long, default_value = "en")]
        lang: Language,
    },
    /// Say whether a partner may do something, which clause decides, and what would change the answer.
    #[command(after_long_help = "\
Examples:
  sekisho policy explain --partner b --dataset cfp-part-b --purpose cfp-reporting
  sekisho policy explain --partner b --dataset cfp-part-b --at 2026-04-01T12:00:00+09:00 --lang ja

An instant of the past is answered by the policies, partners and datasets of then, from the journal. Without a running daemon
the files are asked, and datasets are those that policies name.")]
    Explain(Explain),
    /// Run the cases beside the policies.
    #[command(after_long_help = TEST_EXAMPLE)]
    Test {
        /// The files of cases; else all of the site.
        #[arg(value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Say for whom a change of policies changes what.
    #[command(after_long_help = "\
Examples:
  sekisho policy diff                          what the files would change of what is in force
  sekisho policy diff active other/policies    a directory of policy files
  sekisho policy diff 3f9a01c2 active          a set by its hash, as `sekisho policy history` shows it")]
    Diff {
        /// What it was: `active`, `draft` (the files), a directory, or a hash.
        #[arg(default_value = "active")]
        old: String,
        /// What it will be.
        #[arg(default_value = "draft")]
        new: String,
        /// At which instant; else now.
        #[arg(long)]
        at: Option<Timestamp>,
    },
    /// Show one policy.
    Show {
        /// Its name.
        name: String,
        /// As ODRL, or in plain language for approval.
        #[arg(long = "as", value_enum, default_value_t)]
        form: Form,
        /// The language of the text.
        #[arg(long, default_value = "en")]
        lang: Language,
        /// As the files say, not as it is in force.
        #[arg(long)]
        draft: bool,
    },
    /// Show who may do what.
    Matrix {
        /// As CSV.
        #[arg(long)]
        csv: bool,
        /// Only this action; may be repeated. Else all that policies permit.
        #[arg(long = "action")]
        actions: Vec<String>,
        /// At which instant; else now.
        #[arg(long)]
        at: Option<Timestamp>,
        /// As the files say, not as it is in force.
        #[arg(long)]
        draft: bool,
    },
    /// Print a JSON Schema, with which editors complete and check the files that you write.
    Schema {
        /// Of which files: `policy`, `restrictions` (restrictions.toml), `purposes` (purposes.toml) or `test` (NAME.test.toml).
        #[arg(long, default_value = "policy")]
        of: Kind,
    },
    /// Put the policy files in force, after showing what that changes for whom.
    Activate {
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Put an earlier set in force again, after showing what that changes for whom.
    Rollback {
        /// Its hash, or the first digits of it, as `sekisho policy history` shows it.
        hash: String,
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// List the policies in force.
    List,
    /// List the sets that were in force, with who activated each, when and why.
    History(Listing),
}

/// `policy explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The partner: short name or participant id.
    #[arg(long)]
    pub partner: String,
    /// The dataset.
    #[arg(long)]
    pub dataset: String,
    /// The action, an ODRL term. A pull is `use`.
    #[arg(long, default_value = "use")]
    pub action: String,
    /// The declared purpose; else all that the offer names.
    #[arg(long)]
    pub purpose: Option<String>,
    /// When; else now.
    #[arg(long)]
    pub at: Option<Timestamp>,
    /// Uses made before.
    #[arg(long, default_value_t = 0)]
    pub uses: u64,
    /// When the last of them was.
    #[arg(long)]
    pub previous_use: Option<Timestamp>,
    /// When the agreement was made; else at the instant asked about.
    #[arg(long)]
    pub agreed: Option<Timestamp>,
    /// A duty that was done before; may be repeated.
    #[arg(long = "done")]
    pub done: Vec<String>,
    /// The node that fetches the data: a name of its certificate, for `systemDevice` and `CONNECTOR`.
    #[arg(long)]
    pub node: Option<String>,
    /// The application to which the partner's node would hand the data out: the identifier of its key there, for `APPLICATION`.
    #[arg(long, value_name = "IDENTIFIER")]
    pub application: Option<String>,
    /// The language of the answer.
    #[arg(long, default_value = "en")]
    pub lang: Language,
    /// As the files say, not as it is in force.
    #[arg(long)]
    pub draft: bool,
}

/// How a policy is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Plain language.
    #[default]
    Text,
    /// ODRL, compact JSON-LD.
    Odrl,
    /// The file as it was read.
    File,
}

/// `terms`.
#[derive(Debug, Args)]
pub struct Terms {
    /// The file, or its evidence.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The language of the text.
    #[arg(long, default_value = "en")]
    pub lang: Language,
}
