//! The configuration of a site: `sekisho.toml`, then the environment.
//!
//! The reference file is the one source of keys and defaults: it is the lowest layer under the site's file and the
//! environment, and no struct has a default of its own. So a key that the reference does not show does not exist.
//! Whatever is wrong is reported at once, each with its place, before any port is bound.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use config::{ConfigError, File, FileFormat};
use serde::Deserialize;
use toml::de::DeTable;

mod check;
mod problem;
mod sections;

pub(crate) use problem::nearest;
pub use problem::{Place, Problem, Problems};
pub use sections::{
    Activation, AddressError, CatalogSection, ClockSection, CollectorUrl, DataSection,
    JournalSection, LogFormat, ManagementSection, OutboundSection, PartnerListenerSection,
    PolicySection, ProcessesSection, PublicUrl, SiteSection, SocketMode, StatusListenerSection,
    TelemetrySection,
};

/// The name of the configuration file in a site's directory.
pub const FILE_NAME: &str = "sekisho.toml";

/// The reference file: every key with its meaning and default.
pub const REFERENCE: &str = include_str!("../sekisho.toml");

/// What starts the name of an environment variable that sets a key.
const VARIABLE_PREFIX: &str = "SEKISHO__";

/// Longer paths do not fit into a Unix socket's address (`sun_path`).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each section is documented at its type")]
pub struct Config {
    pub site: SiteSection,
    pub partner_listener: PartnerListenerSection,
    pub catalog: CatalogSection,
    pub management: ManagementSection,
    pub status_listener: StatusListenerSection,
    pub outbound: OutboundSection,
    pub processes: ProcessesSection,
    pub journal: JournalSection,
    pub policy: PolicySection,
    pub data: DataSection,
    pub telemetry: TelemetrySection,
    pub clock: ClockSection,
}

impl Config {
    /// Reads `sekisho.toml` in a site's directory, and the `SEKISHO__…` variables among those given.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line and column or variable, key, and what would be right.
    pub fn load(
        directory: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let file = directory.join(FILE_NAME);
        let text =
            std::fs::read_to_string(&file).map_err(|error| Problem::unreadable(&file, &error))?;
        let config = Self::parse(&file, &text, variables)?;
        let socket = directory.join(&config.management.socket);
        let length = socket.as_os_str().len();
        if length > MAX_SOCKET_PATH_BYTES {
            let layers = Layers::read(&file, &text, BTreeMap::new())?;
            return Err(Problems::from(Problem::new(
                layers.place("management", "socket"),
                "management.socket",
                format!("the path `{}` has {length} bytes", socket.display()),
                format!(
                    "a socket's path may have {MAX_SOCKET_PATH_BYTES}: give a shorter absolute path"
                ),
            )));
        }
        Ok(config)
    }

    /// As [`Config::load`], with the text of the file given.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let variables = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect::<BTreeMap<_, _>>();
        let layers = Layers::read(file, text, variables)?;
        let config = layers.merge()?;
        let problems = check::check(&config, &layers);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }
}

/// The environment of this process, without what is not text.
pub fn process_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The reference file with some keys set: what `init` writes. A value is given as TOML.
pub fn reference_with(values: &[(&str, &str, String)]) -> String {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        }
        let key = key_of(line);
        let value = values.iter().find(|(of, name, _)| *of == section && Some(*name) == key);
        lines.push(match value {
            Some((_, name, value)) => format!("{name} = {value}"),
            None => line.to_owned(),
        });
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The key that a line of the reference sets or shows.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
    let is_key =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_key.then_some(key)
}

/// What the reference file says: the lowest layer, and which keys must be given.
struct Reference {
    /// The defaults as TOML; required keys left out.
    defaults: String,
    /// The same with the examples for required keys, to check one value in its place.
    complete: String,
    /// For each section its keys; the flag says that the key must be given.
    keys: BTreeMap<&'static str, BTreeMap<&'static str, bool>>,
    /// Keys whose value is a list.
    lists: Vec<(&'static str, &'static str)>,
}

static REFERENCE_KEYS: LazyLock<Reference> = LazyLock::new(|| {
    let mut reference = Reference {
        defaults: String::new(),
        complete: String::new(),
        keys: BTreeMap::new(),
        lists: Vec::new(),
    };
    let mut section = "";
    for line in REFERENCE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            reference.keys.entry(name).or_default();
            reference.defaults.push_str(line);
            reference.complete.push_str(line);
        } else if let Some(key) = key_of(line) {
            let shown = line.strip_prefix('#');
            reference.keys.entry(section).or_default().insert(key, shown.is_none());
            if line.contains("= [") {
                reference.lists.push((section, key));
            }
            reference.defaults.push_str(shown.unwrap_or_default());
            reference.complete.push_str(shown.unwrap_or(line));
        }
        reference.defaults.push('\n');
        reference.complete.push('\n');
    }
    reference
});

/// The file and the environment, with the place of every key.
struct Layers<'text> {
    file: &'text Path,
    text: &'text str,
    /// Where each section and each key (section, key) stands, and the bytes of its value.
    sections: BTreeMap<String, Range<usize>>,
    keys: BTreeMap<(String, String), (Range<usize>, Range<usize>)>,
    /// Variables by the key that they set.
    variables: BTreeMap<(String, String), (String, String)>,
}

impl<'text> Layers<'text> {
    fn read(
        file: &'text Path,
        text: &'text str,
        variables: BTreeMap<String, String>,
    ) -> Result<Self, Problems> {
        let document = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            Problem::new(Place::at(file, text, offset), "", error.message().trim(), "")
        })?;
        let mut layers = Self {
            file,
            text,
            sections: BTreeMap::new(),
            keys: BTreeMap::new(),
            variables: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        for (section, value) in document.get_ref() {
            let place = Place::at(file, text, section.span().start);
            let name = section.get_ref().as_ref();
            let Some(keys) = value.get_ref().as_table() else {
                problems.push(Problem::new(
                    place,
                    name,
                    "is not a section",
                    "keys stand under a `[section]` line",
                ));
                continue;
            };
            layers.sections.insert(name.to_owned(), section.span());
            for (key, value) in keys {
                let path = (name.to_owned(), key.get_ref().to_string());
                layers.keys.insert(path, (key.span(), value.span()));
            }
        }
        for (variable, value) in variables {
            let path = variable.trim_start_matches(VARIABLE_PREFIX).to_ascii_lowercase();
            let (section, key) = path.split_once("__").unwrap_or((path.as_str(), ""));
            layers.variables.insert((section.to_owned(), key.to_owned()), (variable, value));
        }
        problems.extend(layers.unknown());
        problems.extend(layers.missing());
        problems.extend(layers.misfits());
        if problems.is_empty() { Ok(layers) } else { Err(Problems(problems)) }
    }

    /// Where a key was set; else where its section is.
    fn place(&self, section: &str, key: &str) -> Place {
        let path = (section.to_owned(), key.to_owned());
        if let Some((variable, _)) = self.variables.get(&path) {
            return Place::Variable(variable.clone());
        }
        let span = self.keys.get(&path).map(|(key, _)| key).or_else(|| self.sections.get(section));
        span.map_or_else(
            || Place::File(self.file.to_owned()),
            |span| Place::at(self.file, self.text, span.start),
        )
    }

    fn unknown(&self) -> Vec<Problem> {
        let known = &REFERENCE_KEYS.keys;
        let mut problems = Vec::new();
        for (section, span) in &self.sections {
            if !known.contains_key(section.as_str()) {
                let place = Place::at(self.file, self.text, span.start);
                let help = suggest(
                    nearest(section, known.keys().copied()),
                    "the reference file lists all sections",
                );
                problems.push(Problem::new(place, section, "no such section", help));
            }
        }
        for (section, key) in self.keys.keys().chain(self.variables.keys()) {
            let Some(keys) = known.get(section.as_str()) else {
                if !self.sections.contains_key(section) {
                    let place = self.place(section, key);
                    let help = suggest(
                        nearest(section, known.keys().copied()),
                        "names are SEKISHO__SECTION__KEY",
                    );
                    problems.push(Problem::new(place, section, "no such section", help));
                }
                continue;
            };
            if !keys.contains_key(key.as_str()) {
                let near = nearest(key, keys.keys().copied());
                let elsewhere = known.iter().find(|(_, keys)| keys.contains_key(key.as_str()));
                let help = match (near, elsewhere) {
                    (None, Some((section, _))) => format!("`{key}` belongs under `[{section}]`"),
                    _ => suggest(near, "the reference file lists all keys"),
                };
                let place = self.place(section, key);
                problems.push(Problem::new(place, format!("{section}.{key}"), "no such key", help));
            }
        }
        problems
    }

    fn missing(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (section, keys) in &REFERENCE_KEYS.keys {
            for (key, _) in keys.iter().filter(|(_, required)| **required) {
                let path = ((*section).to_owned(), (*key).to_owned());
                if !self.keys.contains_key(&path) && !self.variables.contains_key(&path) {
                    let example = REFERENCE
                        .lines()
                        .find(|line| key_of(line) == Some(key))
                        .unwrap_or_default();
                    problems.push(Problem::new(
                        self.place(section, key),
                        format!("{section}.{key}"),
                        "must be given",
                        format!("write for example `{example}` under `[{section}]`"),
                    ));
                }
            }
        }
        problems
    }

    /// Values that do not fit their key, each tried alone in the place of the reference's value, so that every one is
    /// reported and none hides another.
    fn misfits(&self) -> Vec<Problem> {
        let known = |section: &str, key: &str| {
            REFERENCE_KEYS.keys.get(section).is_some_and(|keys| keys.contains_key(key))
        };
        let mut problems = Vec::new();
        let mut judge =
            |section: &str, key: &str, place: Place, outcome: Result<Config, ConfigError>| {
                if let Err(error) = outcome {
                    problems.push(Problem::new(
                        place,
                        format!("{section}.{key}"),
                        innermost(error),
                        "",
                    ));
                }
            };
        for ((section, key), (at, value)) in &self.keys {
            if known(section, key) {
                let value = self.text.get(value.clone()).unwrap_or_default();
                let alone = format!("[{section}]\n{key} = {value}\n");
                let place = Place::at(self.file, self.text, at.start);
                judge(
                    section,
                    key,
                    place,
                    layer(&[&REFERENCE_KEYS.complete, &alone], &BTreeMap::new()),
                );
            }
        }
        for ((section, key), variable) in &self.variables {
            if known(section, key) {
                let alone = BTreeMap::from([((section.clone(), key.clone()), variable.clone())]);
                let place = Place::Variable(variable.0.clone());
                judge(section, key, place, layer(&[&REFERENCE_KEYS.complete], &alone));
            }
        }
        problems
    }

    fn merge(&self) -> Result<Config, Problems> {
        layer(&[&REFERENCE_KEYS.defaults, self.text], &self.variables).map_err(|error| {
            Problem::new(Place::File(self.file.to_owned()), "", innermost(error), "").into()
        })
    }
}

/// Lays texts and variables over each other, later over earlier.
fn layer(
    texts: &[&str],
    variables: &BTreeMap<(String, String), (String, String)>,
) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    for text in texts {
        builder = builder.add_source(File::from_str(text, FileFormat::Toml));
    }
    for ((section, key), (_, value)) in variables {
        let path = format!("{section}.{key}");
        let is_list = REFERENCE_KEYS.lists.iter().any(|(of, name)| of == section && name == key);
        builder = if is_list {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            builder.set_override(path, items.map(str::to_owned).collect::<Vec<_>>())?
        } else {
            builder.set_override(path, value.as_str())?
        };
    }
    builder.build()?.try_deserialize()
}

/// The text of an error without the key and origin that `config` adds: our problem names both.
fn innermost(error: ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => innermost(*error),
        ConfigError::Type { unexpected, expected, .. } => {
            format!("is {unexpected}; give {expected}")
        }
        other => other.to_string(),
    }
}

fn suggest(near: Option<&str>, otherwise: &str) -> String {
    near.map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests;
