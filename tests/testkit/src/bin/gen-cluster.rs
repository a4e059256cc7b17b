//! Writes a synthetic cluster into a folder.

use netsim_testkit::synthetic::{Format, Synthetic};
use std::error::Error;
use std::path::PathBuf;

const USAGE: &str = "gen-cluster --pods N [--namespaces 10] [--policies-per-ns 8] [--seed 1] [--owners] \
                     [--format json-docs|json-list|yaml|yaml-list] --out DIR";

fn main() -> Result<(), Box<dyn Error>> {
    let mut cluster = Synthetic::new(0, 10, 8);
    let (mut format, mut out) = (Format::JsonDocuments, None);
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match option.as_str() {
            "--pods" => cluster.pods = value()?.parse()?,
            "--namespaces" => cluster.namespaces = value()?.parse::<usize>()?.max(1),
            "--policies-per-ns" => cluster.policies_per_namespace = value()?.parse()?,
            "--seed" => cluster.seed = value()?.parse()?,
            "--owners" => cluster.owners = true,
            "--format" => {
                format = match value()?.as_str() {
                    "json-docs" => Format::JsonDocuments,
                    "json-list" => Format::JsonList,
                    "yaml" => Format::Yaml,
                    "yaml-list" => Format::YamlList,
                    _ => return Err(USAGE.into()),
                }
            }
            "--out" => out = Some(PathBuf::from(value()?)),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(cluster.write_to(format, &out.ok_or(USAGE)?)?)
}
