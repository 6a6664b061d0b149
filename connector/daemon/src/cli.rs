//! The command line.
//!
//! `init`, `check`, `serve`, `rebuild`, `pki`, `partner card`, `policy` and `provenance` work on the site's files; every other command asks the running
//! daemon over its management socket, so that one process writes the journal.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;
use serde_json::json;

use crate::config::{Config, process_variables};
use crate::exit::Exit;
use crate::site::Paths;

mod agreement;
mod approvals;
mod arguments;
mod audit;
mod check;
pub mod client;
mod dataset;
mod dead_letter;
mod duty;
mod events;
mod exchange;
mod failure;
mod init;
mod key;
mod list;
mod negotiation;
mod output;
mod partner;
mod pki;
mod policy;
mod provenance;
mod pull;
mod pulls;
mod serve;
mod transfer;

pub use arguments::Arguments;
use arguments::{Clock, Command, Partner};
use client::Client;
pub use failure::Failure;
use output::Output;

/// Runs the command line of this process to its end.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are results, not errors.
            let exit = if error.use_stderr() { Exit::Misuse } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    let output = Output::new(arguments.json);
    match command(arguments, output) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

fn command(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let site = &arguments.site;
    match arguments.command {
        Command::Init(init) => init::run(&init, output, now),
        Command::Check => check::run(site, output, now),
        Command::Serve => serve::run(site, output, now),
        Command::Rebuild => serve::rebuild(site, output),
        Command::Provenance(command) => provenance::run(site, &command, output, now),
        Command::Pki(command) => pki::run(site, &command, output, now),
        Command::Partner(Partner::Card { output: file }) => {
            partner::card(site, file.as_deref(), output, now)
        }
        Command::Policy(command) => policy::run(site, command, output, now),
        Command::Terms(command) => policy::terms::run(site, &command, output, now),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sekisho", &mut script);
            output::raw(&script);
            Ok(())
        }
        Command::Openapi => {
            let document = crate::management::openapi();
            output.result(&document, |document| format!("{document:#}"));
            Ok(())
        }
        Command::ExitCodes => {
            exit_codes(output);
            Ok(())
        }
        online => {
            let (_, paths) = locate(site)?;
            let client = Client::new(&paths.socket);
            runtime()?.block_on(ask(online, &client, output))
        }
    }
}

/// The commands that ask the daemon.
async fn ask(command: Command, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        Command::Partner(command) => partner::run(command, client, output).await,
        Command::Dataset(command) => dataset::run(command, client, output).await,
        Command::Catalog(command) => exchange::catalog(&command, client, output).await,
        Command::Pull(command) => pull::run(&command, client, output).await,
        Command::Pulls(command) => pulls::run(command, client, output).await,
        Command::Negotiation(command) => negotiation::run(command, client, output).await,
        Command::Approvals(command) => approvals::run(command, client, output).await,
        Command::Duty(command) => duty::run(command, client, output).await,
        Command::Agreement(command) => agreement::run(command, client, output).await,
        Command::Transfer(command) => transfer::run(command, client, output).await,
        Command::DeadLetter(command) => dead_letter::run(command, client, output).await,
        Command::Events(command) => events::run(&command, client, output).await,
        Command::Key(command) => key::run(command, client, output, Timestamp::now()).await,
        Command::Audit(command) => audit::run(command, client, output).await,
        Command::Clock(Clock::Accept { reason }) => {
            let answer = client.post("/v1/clock/accept", &json!({ "reason": reason })).await?;
            output.result(&answer, |_| "The time is accepted; permits are given again.".to_owned());
            Ok(())
        }
        Command::Status => {
            let status = client.get("/v1/status").await?;
            output.result(&status, output::fields);
            Ok(())
        }
        other => Err(Failure::new(Exit::Internal, format!("{other:?} does not need the daemon"))),
    }
}

/// The site's configuration and the places of its parts.
fn locate(site: &Path) -> Result<(Config, Paths), Failure> {
    let config = Config::load(site, process_variables())?;
    let paths = Paths::new(site, &config);
    Ok((config, paths))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("the runtime cannot start: {error}")))
}

fn exit_codes(output: Output) {
    let codes = Exit::ALL.map(|exit| json!({ "code": exit.code(), "meaning": exit.meaning() }));
    output.result(&json!({ "exit_codes": codes }), |_| {
        Exit::ALL.map(|exit| exit.to_string()).join("\n")
    });
}

#[cfg(test)]
mod tests;
