//! One company's site: its directory, its daemon, its command line.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command::{self, Outcome, Running};
use crate::judged::Judged;
use crate::ports;
use crate::process::{self, Daemon};
use crate::wait::{self, PATIENCE};

/// How long a command may take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The exit code of what may work later.
const NOT_NOW: i32 = 75;

/// The networks in which sites of one machine may dial each other.
const LOOPBACK: &str = "127.0.0.0/8";

/// A site to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    scene: PathBuf,
    name: String,
    title: String,
    dialled: Option<SocketAddr>,
    settings: Vec<(String, String)>,
    operator_id: Option<String>,
    judged: Option<Arc<Judged>>,
}

impl Plan {
    pub(crate) fn new(scene: &Path, name: &str, judged: Option<Arc<Judged>>) -> Self {
        Self {
            scene: scene.to_owned(),
            name: name.to_owned(),
            title: format!("{} Corporation", name.to_uppercase()),
            dialled: None,
            settings: Vec::new(),
            operator_id: None,
            judged,
        }
    }

    /// The name for people.
    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// The ODS operator id.
    #[must_use]
    pub fn operator_id(mut self, id: &str) -> Self {
        self.operator_id = Some(id.to_owned());
        self
    }

    /// Partners are told this address, at which a proxy stands.
    #[must_use]
    pub fn dialled_at(mut self, address: SocketAddr) -> Self {
        self.dialled = Some(address);
        self
    }

    /// A value of the configuration, set through the environment.
    #[must_use]
    pub fn setting(mut self, section: &str, key: &str, value: &str) -> Self {
        let name = format!("SEKISHO__{}__{}", section.to_uppercase(), key.to_uppercase());
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Makes the site with a trial authority. It does not serve yet.
    ///
    /// # Errors
    /// When `sekisho init` fails.
    pub fn make(self) -> Result<Site> {
        let (address, status) = (ports::free()?, ports::free()?);
        let dialled = self.dialled.unwrap_or(address);
        let directory = self.scene.join(&self.name);
        let participant = format!("did:web:{}.example", self.name);
        let mut init = Command::new(process::sekisho()?);
        init.arg("init").arg(&directory);
        init.args(["--participant", &participant, "--name", &self.title]);
        init.args(["--ip", "127.0.0.1", "--bind", "127.0.0.1", "--trial-ca"]);
        init.args(["--port", &address.port().to_string()]);
        init.args(["--public-url", &format!("https://{dialled}")]);
        init.args(["--status-bind", &status.to_string()]);
        if let Some(id) = &self.operator_id {
            init.args(["--operator-id", id]);
        }
        command::run(&mut init, COMMAND_LIMIT)?.expect(0)?;
        Ok(Site {
            log: self.scene.join(format!("{}.log", self.name)),
            name: self.name,
            participant,
            directory,
            address,
            dialled,
            status,
            settings: self.settings,
            judged: self.judged,
            daemon: None,
        })
    }
}

/// A site.
#[derive(Debug)]
pub struct Site {
    name: String,
    participant: String,
    directory: PathBuf,
    address: SocketAddr,
    dialled: SocketAddr,
    status: SocketAddr,
    settings: Vec<(String, String)>,
    log: PathBuf,
    judged: Option<Arc<Judged>>,
    daemon: Option<Daemon>,
}

impl Site {
    /// The short name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who judges what it sends, in a scene where somebody does.
    pub(crate) fn judged(&self) -> Option<Arc<Judged>> {
        self.judged.clone()
    }

    /// The participant id.
    pub fn participant(&self) -> &str {
        &self.participant
    }

    /// A path in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The address of the partner listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The origin that partners are told.
    pub fn origin(&self) -> String {
        format!("https://{}", self.dialled)
    }

    /// The address of the status listener.
    pub fn status(&self) -> SocketAddr {
        self.status
    }

    /// The variables that the daemon and the commands are given.
    pub fn variables(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Sets a value of the configuration for the next start.
    pub fn set(&mut self, section: &str, key: &str, value: &str) {
        let name = format!("SEKISHO__{}__{}", section.to_uppercase(), key.to_uppercase());
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Everything that the daemon has logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// The file of the log.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&mut self) -> Result<()> {
        self.start_below(&[])
    }

    /// Starts the daemon below another program, such as `strace -D`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_below(&mut self, wrapper: &[OsString]) -> Result<()> {
        ensure!(self.daemon.is_none(), "`{}` serves already", self.name);
        let daemon =
            Daemon::start(&self.directory, self.status, &self.settings, &self.log, wrapper)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The daemon that runs.
    ///
    /// # Errors
    /// When none does.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().with_context(|| format!("`{}` does not serve", self.name))
    }

    /// Takes the daemon out, running as it is.
    ///
    /// # Errors
    /// When none runs.
    pub fn take_daemon(&mut self) -> Result<Daemon> {
        self.daemon.take().with_context(|| format!("`{}` does not serve", self.name))
    }

    /// Stops the daemon in good order.
    ///
    /// # Errors
    /// When it does not stop well.
    pub fn stop(&mut self) -> Result<()> {
        self.judge();
        self.take_daemon()?.stop()
    }

    /// Holds what the daemon sent against the official schemas, while it can be asked for it.
    fn judge(&self) {
        if let (Some(judged), Some(_)) = (&self.judged, &self.daemon) {
            judged.look(&self.name, &self.path("sekisho.sock"));
        }
    }

    /// Kills the daemon.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        self.take_daemon()?.kill()
    }

    /// Stops the daemon in good order and starts it again.
    ///
    /// # Errors
    /// When either fails.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// The command line of this site, with JSON output.
    ///
    /// # Errors
    /// When the binary was not built.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Command> {
        let mut command = Command::new(process::sekisho()?);
        command.arg("--json").arg("--site").arg(&self.directory).args(arguments);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Outcome> {
        command::run(&mut self.command(arguments)?, COMMAND_LIMIT)
    }

    /// Runs a command that must succeed, and takes its result.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        // A node that says "not now" while its index is made anew is asked again, as the exit code tells scripts.
        wait::until("the node is able to answer", PATIENCE, || {
            let outcome = self.run(arguments)?;
            if outcome.code == Some(NOT_NOW) {
                return Ok(None);
            }
            outcome.expect(0)?.last().map(Some)
        })
    }

    /// The records of a kind in a log (`site`, or a partner's short name), in order; a thousand at most.
    ///
    /// # Errors
    /// When the command fails.
    pub fn records(&self, log: &str, kind: &str) -> Result<Vec<Value>> {
        let words =
            ["audit", "show", "--log", log, "--kind", kind, "--from", "0", "--limit", "1000"];
        let answer = self.ask(&words)?;
        let records = answer.get("records").and_then(Value::as_array);
        Ok(records.with_context(|| format!("no records in {answer}"))?.clone())
    }

    /// Starts a command and waits for nothing.
    ///
    /// # Errors
    /// When it does not start.
    pub fn begin<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Running> {
        Running::start(&mut self.command(arguments)?)
    }

    /// Registers another site as a partner by its card, under its short name.
    ///
    /// # Errors
    /// When a command fails. This site must serve.
    pub fn register(&self, partner: &Self, groups: &[&str]) -> Result<()> {
        let card = self.directory.with_file_name(format!("{}.card", partner.name));
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
        let card = text(&card)?;
        let issued = partner.run(&["partner", "card", "-o", &card])?.expect(0)?;
        let fingerprint = issued.text("/fingerprint")?;
        let mut add = vec!["partner", "add", &card, "--name", &partner.name, "--region", "JP"];
        add.extend(["--network", LOOPBACK, "--fingerprint", &fingerprint, "--yes"]);
        for group in groups {
            add.extend(["--group", group]);
        }
        self.ask(&add)?;
        Ok(())
    }

    /// Writes policy files and waits until the running daemon has put them in force.
    ///
    /// # Errors
    /// When they cannot be written, or are not in force in time.
    pub fn activate(&self, policies: &[(&str, &str)]) -> Result<()> {
        for (name, text) in policies {
            self.policy(name, text)?;
        }
        // Files that come one after the other may come into force one after the other.
        wait::until("the policies are in force", PATIENCE, || {
            let history = self.ask(&["policy", "history", "--limit", "1"])?;
            Ok((history.pointer("/activations/0/filed") == Some(&Value::Bool(true))).then_some(()))
        })
    }

    /// Writes a policy file. A running daemon takes it by itself, if it is right.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn policy(&self, name: &str, text: &str) -> Result<()> {
        let directory = self.path("policies");
        let new = directory.join(format!(".{name}.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, directory.join(format!("{name}.toml")))?;
        Ok(())
    }

    /// Publishes a file under a policy.
    ///
    /// # Errors
    /// When the command fails.
    pub fn publish(&self, file: &Path, id: &str, policy: &str) -> Result<Value> {
        let file = file.to_str().context("a path is not UTF-8")?;
        let title = format!("Dataset {id}");
        let words = [
            "dataset", "publish", file, "--id", id, "--title", &title, "--policy", policy, "--yes",
        ];
        self.ask(&words)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.judge();
        }
    }
}

/// Makes two sites partners of each other, both in the group `partners`.
///
/// # Errors
/// When a command fails. Both must serve.
pub fn befriend(one: &Site, other: &Site) -> Result<()> {
    one.register(other, &["partners"])?;
    other.register(one, &["partners"])
}
