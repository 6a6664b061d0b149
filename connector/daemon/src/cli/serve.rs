//! `sekisho serve` and `sekisho rebuild`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use store::{Environment, FileStore, Options, SystemClock};

use super::check::refused;
use super::failure::Failure;
use super::output::Output;
use crate::config::process_variables;
use crate::exit::Exit;
use crate::net::Shutdown;
use crate::node::{self, ServeError};
use crate::site::{self, Site};
use crate::telemetry::Telemetry;
use crate::wire;

/// How long a stop waits for the telemetry collector.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs the daemon until a signal stops it.
pub(super) fn run(directory: &Path, output: Output, now: Timestamp) -> Result<(), Failure> {
    let site = Site::open(directory, process_variables(), now).map_err(|error| refused(&error))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Internal, format!("the runtime cannot start: {error}"))
        })?;
    runtime.block_on(serve(site, output))
}

async fn serve(site: Site, output: Output) -> Result<(), Failure> {
    let internal = |text: String| Failure::new(Exit::Internal, text);
    let telemetry = Telemetry::new(&site.config.telemetry, &tokio::runtime::Handle::current())
        .map_err(|error| Failure::misuse(site::chain(&error)))?;
    telemetry.install().map_err(|error| internal(site::chain(&error)))?;
    let telemetry = Arc::new(telemetry);
    let shutdown = Shutdown::new();
    shutdown.follow_signals().map_err(|error| internal(format!("signals: {error}")))?;
    let name = site.config.site.participant.to_string();
    let started = node::start(site, Arc::new(SystemClock), Arc::clone(&telemetry), shutdown).await;
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            telemetry.shutdown(FLUSH).await;
            return Err(failed(&error));
        }
    };
    for address in &running.partner {
        tracing::info!(event = "listening", listener = "partner", address = %address, participant = name);
    }
    for address in &running.status {
        tracing::info!(event = "listening", listener = "status", address = %address);
    }
    for address in &running.management {
        tracing::info!(event = "listening", listener = "management", address = %address);
    }
    output.event(&json!({ "serving": {
        "participant": name,
        "partner": running.partner,
        "status": running.status,
        "management": running.management,
    }}));
    // Outside a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    running.wait().await;
    telemetry.shutdown(FLUSH).await;
    Ok(())
}

fn failed(error: &ServeError) -> Failure {
    let exit = match error {
        ServeError::Reload(_) | ServeError::OtherOwner { .. } => Exit::Misuse,
        ServeError::Open(store::OpenError::Locked { .. }) | ServeError::Listen(_) => Exit::TryAgain,
        ServeError::Open(store::OpenError::Files { .. }) => Exit::CannotWrite,
        ServeError::Open(_) => Exit::NotVerified,
        ServeError::Store(
            engine::StoreError::DiskFull { .. } | engine::StoreError::WriteFailed { .. },
        )
        | ServeError::Objects(_) => Exit::CannotWrite,
        _ => Exit::Internal,
    };
    Failure::new(exit, site::chain(error))
}

/// Makes everything that is derived from the journal anew. The daemon must not be running.
pub(super) fn rebuild(directory: &Path, output: Output) -> Result<(), Failure> {
    let (config, paths) = super::locate(directory)?;
    let origin = config.partner_listener.public_url.as_str();
    let context = engine::Context {
        participant: config.site.participant.clone(),
        dsp_endpoint: format!("{origin}{}", wire::DSP),
        data_endpoint: format!("{origin}{}", wire::DATA),
        delivery_deadline: jiff::SignedDuration::try_from(config.outbound.delivery_deadline())
            .unwrap_or(jiff::SignedDuration::MAX),
        approval_deadline: jiff::SignedDuration::try_from(config.processes.approval_deadline())
            .unwrap_or(jiff::SignedDuration::MAX),
        limits: config.processes.limits(),
    };
    let options = Options { segment_bytes: config.journal.segment_bytes, ..Options::default() };
    let spinner = indicatif::ProgressBar::new_spinner().with_message("reading the journal");
    if output.is_watched() {
        spinner.enable_steady_tick(Duration::from_millis(100));
    } else {
        spinner.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let report = super::runtime()?.block_on(FileStore::rebuild(
        &paths.data,
        options,
        Environment::system(context),
    ));
    spinner.finish_and_clear();
    let report = report.map_err(|error| failed(&ServeError::Open(error)))?;
    let value = json!({ "rebuilt": { "frames": report.frames, "records": report.records } });
    output.result(&value, |_| {
        format!(
            "Made the snapshots, trees and index anew from {} records of the journal.",
            report.records
        )
    });
    Ok(())
}
