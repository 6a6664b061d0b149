//! `docs/policy-guide.md` says what is: its files are written, its commands run, and what it prints is found in their output.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration_tests::command;
use integration_tests::process::sekisho;
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site};

/// A fenced block: its kind, the file it is, and its lines.
struct Block {
    kind: String,
    file: String,
    lines: Vec<String>,
}

#[test]
fn every_example_of_the_guide_is_as_it_says() -> Result<()> {
    Scene::play(|scene| {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy-guide.md");
        let blocks = blocks(&std::fs::read_to_string(guide)?);
        ensure!(blocks.len() > 15, "the guide has only {} examples", blocks.len());
        let mut site = scene.plan("s").setting("policy", "activation", "command").make()?;
        site.start()?;
        let partner = scene.site("b")?;
        site.register(&partner, &["customers"])?;
        for block in blocks {
            match block.kind.as_str() {
                "toml" | "json" => {
                    ensure!(!block.file.is_empty(), "a file has no name: {:?}", block.lines);
                    std::fs::write(site.path(&block.file), block.lines.join("\n") + "\n")?;
                }
                "added" => {
                    let path = site.path(&block.file);
                    let before = std::fs::read_to_string(&path)?;
                    std::fs::write(path, before + &block.lines.join("\n") + "\n")?;
                }
                "remove" => {
                    for file in &block.lines {
                        std::fs::remove_file(site.path(file))?;
                    }
                }
                "console" => console(&site, &block.lines)?,
                other => anyhow::bail!("a block of the guide is `{other}`"),
            }
        }
        Ok(())
    })
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let (kind, file) = info.split_once(' ').unwrap_or((info, ""));
                open =
                    Some(Block { kind: kind.to_owned(), file: file.to_owned(), lines: Vec::new() });
            }
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Runs each command, and looks for the lines under it in what it writes. `…` stands for anything to the line's end.
fn console(site: &Site, lines: &[String]) -> Result<()> {
    let mut output = String::new();
    for line in lines {
        let Some(words) = line.strip_prefix("$ sekisho ") else {
            let wanted = line.split('…').next().unwrap_or_default().trim();
            ensure!(
                output.contains(wanted),
                "the guide prints\n  {line}\nand the command\n{output}"
            );
            continue;
        };
        let mut run = Command::new(sekisho()?);
        run.arg("--site").arg(site.path("")).args(words.split_whitespace());
        run.envs(site.variables().iter().map(|(name, value)| (name, value)));
        run.env("NO_COLOR", "1");
        let outcome = command::run(&mut run, COMMAND_LIMIT)?;
        output = outcome.stdout + &outcome.stderr;
        let fails = lines.iter().any(|line| line.starts_with("error: "));
        ensure!(
            (outcome.code == Some(0)) != fails,
            "`{words}` ended with {:?}\n{output}",
            outcome.code.context("a signal ended it")?
        );
    }
    Ok(())
}
