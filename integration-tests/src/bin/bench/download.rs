//! Downloads: memory while a large file is streamed, and the rate beside nginx with the same certificates, cipher, file and
//! client, in turn.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::command::{self, Running};
use integration_tests::connector::{Connector, Transfer};
use integration_tests::files;
use integration_tests::ports;
use integration_tests::process::processor_time;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::Extent;
use crate::figures::{Figures, mebibytes, milliseconds, percentile};
use crate::node::pair;

const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const LIMIT: Duration = Duration::from_secs(300);

/// The most memory that the daemon had while it streamed a file.
pub(crate) fn memory(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let source = scene.file("source.bin");
    // A hole: what is read from it is zeros, and it takes no room.
    File::create(&source)?.set_len(extent.streamed)?;
    let mut stage = Stage::new(&scene, &source)?;
    // What publishing took is no part of it.
    stage.provider.restart()?;
    let before = stage.provider.daemon()?.resident_bytes()?;
    let size = stage.served()?.1;
    ensure!(size == extent.streamed, "{size} bytes came");
    let peak = stage.provider.daemon()?.peak_bytes()?;
    let name = format!("most memory while streaming {} GiB", extent.streamed >> 30);
    figures.add(name, mebibytes(peak), "MiB");
    figures.add("memory before that", mebibytes(before), "MiB");
    Ok(())
}

/// The rate beside nginx.
pub(crate) fn beside_nginx(figures: &mut Figures, extent: Extent) -> Result<()> {
    let scene = Scene::new()?;
    let source = scene.file("source.bin");
    files::write(&source, extent.downloaded, "bench")?;
    let mut stage = Stage::new(&scene, &source)?;
    let nginx = Nginx::start(&scene, &stage)?;
    // Once each, so that both read from memory.
    stage.served()?;
    nginx.served(&stage)?;
    let before = (processor_time(stage.provider.daemon()?.id())?, nginx.processor_time()?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..extent.downloads {
        ours.push(stage.served()?.0);
        theirs.push(nginx.served(&stage)?.0);
    }
    let peer = ("nginx", percentile(&mut theirs, 0.5));
    figures.beside("download", percentile(&mut ours, 0.5), "MiB/s", peer);
    // On a machine that does other things as well this says more than the rate does.
    let after = (processor_time(stage.provider.daemon()?.id())?, nginx.processor_time()?);
    let mebibytes = mebibytes(extent.downloaded) * f64::from(u32::try_from(extent.downloads)?);
    let each =
        |from: Duration, to: Duration| milliseconds(to.saturating_sub(from)) * 1024.0 / mebibytes;
    let peer = ("nginx", each(before.1, after.1));
    figures.beside("processor time of a downloaded GiB", each(before.0, after.0), "ms", peer);
    Ok(())
}

/// A provider with one file, a granted transfer of it, and what curl needs to speak as the consumer.
struct Stage {
    provider: Site,
    consumer: Site,
    _connector: Connector,
    transfer: Transfer,
    client: PathBuf,
    server: PathBuf,
    client_anchor: PathBuf,
    server_anchor: PathBuf,
}

impl Stage {
    fn new(scene: &Scene, source: &Path) -> Result<Self> {
        let (provider, mut consumer) = pair(scene)?;
        let path = source.to_str().context("a path is not UTF-8")?;
        let words =
            ["dataset", "publish", path, "--id", "one", "--title", "One", "--policy", "open"];
        provider.ask(&[&words[..], &["--in-place", "--yes"]].concat())?;
        consumer.stop()?;
        let connector = Connector::play(&consumer, &provider)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = scene.file(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let load = |site: &Site| certs::pki::SitePki::load(&site.path("pki"), Timestamp::now());
        let (own, other) = (load(&provider)?, load(&consumer)?);
        Ok(Self {
            client: write("client.pem", other.client.leaf().to_pem())?,
            client_anchor: write("client-anchor.pem", other.client.anchor().to_pem())?,
            server: write("server.pem", own.server.leaf().to_pem())?,
            server_anchor: write("server-anchor.pem", own.server.anchor().to_pem())?,
            provider,
            consumer,
            _connector: connector,
            transfer,
        })
    }

    /// Downloads from the daemon: mebibytes in a second, and bytes.
    fn served(&self) -> Result<(f64, u64)> {
        let authorization = format!("Authorization: {}", self.transfer.address.authorization);
        self.curl(
            self.provider.address(),
            &self.transfer.address.path,
            &["--header", &authorization],
        )
    }

    fn curl(&self, address: SocketAddr, path: &str, more: &[&str]) -> Result<(f64, u64)> {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--http1.1",
            "--tlsv1.3",
            "--tls13-ciphers",
            CIPHER,
        ]);
        curl.arg("--cert").arg(&self.client).arg("--key").arg(self.consumer.path("pki/client.key"));
        curl.arg("--cacert").arg(&self.server_anchor).args(["--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code} %{size_download} %{speed_download}"]).args(more);
        curl.arg(format!("https://{address}{path}"));
        let outcome = command::run(&mut curl, LIMIT)?.expect(0)?;
        let words = outcome.stdout.split_whitespace().collect::<Vec<_>>();
        let [status, size, rate] = words.as_slice() else {
            anyhow::bail!("curl said `{}`", outcome.stdout);
        };
        ensure!(*status == "200", "status {status} for {path}");
        Ok((rate.parse::<f64>()? / f64::from(1 << 20), size.parse()?))
    }
}

/// nginx with its own configuration and directories. It stops when dropped.
struct Nginx {
    process: Option<Running>,
    address: SocketAddr,
}

impl Nginx {
    fn start(scene: &Scene, stage: &Stage) -> Result<Self> {
        let directory = scene.file("nginx");
        std::fs::create_dir(&directory)?;
        let address = ports::free()?;
        let configuration = directory.join("nginx.conf");
        // As root its workers would become another user, who cannot read the file.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let place = directory.display();
        let text = format!(
            "{user}\nworker_processes auto;\ndaemon off;\npid {place}/pid;\nerror_log {place}/error.log;\n\
             events {{}}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  output_buffers 2 256k;\n  \
             client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n  \
             fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  \
             scgi_temp_path {place}/scgi;\n  server {{\n    listen {address} ssl;\n    \
             ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.3;\n    \
             ssl_conf_command Ciphersuites {CIPHER};\n    ssl_client_certificate {};\n    \
             ssl_verify_client on;\n    root {};\n  }}\n}}\n",
            stage.server.display(),
            stage.provider.path("pki/server.key").display(),
            stage.client_anchor.display(),
            scene.path().display(),
        );
        std::fs::write(&configuration, text)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&configuration).arg("-e").arg(directory.join("error.log"));
        let process =
            Some(Running::start(&mut nginx).context("nginx is needed; `./bench` installs it")?);
        let started = Self { process, address };
        wait::until("nginx serves", Duration::from_secs(10), || {
            Ok(std::net::TcpStream::connect(address).is_ok().then_some(()))
        })
        .with_context(|| {
            std::fs::read_to_string(directory.join("error.log")).unwrap_or_default()
        })?;
        Ok(started)
    }

    /// The processor time of its workers.
    fn processor_time(&self) -> Result<Duration> {
        let id = self.process.as_ref().context("nginx was stopped")?.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        children.split_whitespace().map(|child| processor_time(child.parse()?)).sum()
    }

    fn served(&self, stage: &Stage) -> Result<(f64, u64)> {
        stage.curl(self.address, "/source.bin", &[])
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master stops its workers; killed, it would leave them.
        let Some(process) = self.process.take() else { return };
        let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = process.wait(Duration::from_secs(10));
    }
}
