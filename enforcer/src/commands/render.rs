//! `netsim-enforcer render`: the ruleset of a node, as text.

use super::{Failure, OK};
use crate::args::{Render, RulesetArgs};
use crate::render::{self, Options, UnknownPods};
use crate::ruleset::Ruleset;
use crate::ruleset::text::table;
use ipnet::IpNet;
use netsim::args::InputArgs;
use netsim::load::{Loaded, load};
use netsim_shared::compile::Entry;
use netsim_shared::net::Family;
use std::io::Write;

/// Prints it.
///
/// # Errors
/// When the input cannot be read, or the output not be written.
pub fn run(args: &Render) -> Result<u8, Failure> {
    let text = table(&args.table, &Desired::load(&args.input, &args.ruleset)?.ruleset(1));
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(OK),
    }
}

/// A cluster, and the node that a ruleset is made for.
pub struct Desired {
    loaded: Loaded,
    /// How rulesets are made.
    pub options: Options,
    pod_cidrs: Vec<IpNet>,
}

impl Desired {
    /// Loads a cluster.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn load(input: &InputArgs, ruleset: &RulesetArgs) -> Result<Self, Failure> {
        if !input.ip_block_matches_pods || input.host_network_pods {
            let error = "--ip-block-matches-pods and --host-network-pods describe other providers; the enforcer has the defaults";
            return Err(Failure::new(error));
        }
        let loaded = load(input, &mut |warning| eprintln!("{warning}"))?;
        let options = ruleset.options();
        let told = &loaded.compiled.modes().pod_cidrs;
        let of_node = || loaded.index.node(&options.node).map(|node| node.pod_cidrs.clone()).unwrap_or_default();
        let pod_cidrs = if told.is_empty() { of_node() } else { told.clone() };
        let desired = Desired { loaded, options, pod_cidrs };
        desired.say_what_is_left_out();
        Ok(desired)
    }

    /// What the node should have.
    pub fn ruleset(&self, generation: u32) -> Ruleset {
        render::render(&self.loaded.compiled, &self.options, &self.pod_cidrs, generation)
    }

    /// A ruleset is about addresses; what has none yet is not in it, and that is said.
    fn say_what_is_left_out(&self) {
        let compiled = &self.loaded.compiled;
        let pods = compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network);
        let addressed = |entry: &Entry| Family::ALL.into_iter().any(|f| render::address_of(entry, f).is_some());
        let mut names: Vec<String> =
            pods.filter(|(_, entry)| !addressed(entry)).map(|(_, entry)| entry.endpoint.key.to_string()).collect();
        names.sort_unstable();
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            eprintln!("warning: without an address, and so not in the ruleset: {first}{more}");
        }
        let node = &self.options.node;
        if !compiled.entries().any(|(_, entry)| entry.endpoint.node.as_ref() == Some(node)) {
            eprintln!("warning: no pod of the input is on node `{node}`");
        }
        if self.pod_cidrs.is_empty() && self.options.unknown_pods == UnknownPods::Deny {
            eprintln!("warning: the range of the node's pods is not known: give its Node object, or --pod-cidr");
        }
    }
}
