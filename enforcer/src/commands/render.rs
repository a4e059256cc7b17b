//! `netsim-enforcer render`: the ruleset of a node, as text.

use super::{Failure, OK, print};
use crate::args::{Input, Render, RulesetArgs};
use crate::render::{self, Options, UnknownPods};
use crate::ruleset::Ruleset;
use crate::ruleset::text::table;
use ipnet::IpNet;
use netsim::load::{Loaded, load};
use netsim_shared::compile::Entry;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::net::Family;
use netsim_shared::object::Life;
use std::collections::BTreeSet;

/// A few nodes are named when the one asked for is not among them.
const NODES_NAMED: usize = 5;

/// Prints it.
///
/// # Errors
/// When the input cannot be read, or the output not be written.
pub fn run(args: &Render) -> Result<u8, Failure> {
    let desired = Desired::load(&args.input, &args.ruleset)?;
    let (name, node) = (&args.table, &desired.options.node);
    // Loaded again, it takes the place of what is there, rules would be added to it otherwise.
    let text = format!(
        "# The ruleset of node `{node}`. `nft -f` puts it in place of the table of this name.\n\
         table inet {name}\n\
         delete table inet {name}\n\
         {}",
        table(name, &desired.ruleset(1))
    );
    print(&text)?;
    Ok(OK)
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
    pub fn load(input: &Input, ruleset: &RulesetArgs) -> Result<Self, Failure> {
        let loaded = load(&input.args(), &mut |warning| eprintln!("{warning}"))?;
        let options = ruleset.options();
        let told = &ruleset.pod_cidrs;
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

    /// A ruleset is about addresses and one node; what is not in it for that reason is said.
    fn say_what_is_left_out(&self) {
        let warn = |text: String, help: &str| eprintln!("{}", Diagnostic::warning(text).help(help));
        let compiled = &self.loaded.compiled;
        let node = &self.options.node;
        let addressed = |entry: &Entry| Family::ALL.into_iter().any(|f| render::address_of(entry, f).is_some());
        let missing = compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network && !addressed(entry));
        let waiting = || self.loaded.index.pods().filter(|pod| pod.life == Life::Waiting);
        let mut names: Vec<String> = missing.map(|(_, entry)| entry.endpoint.key.to_string()).collect();
        names.extend(waiting().map(|pod| format!("{}/{}", pod.namespace, pod.name)));
        names.sort_unstable();
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            let help =
                "a ruleset is about the addresses of running pods: give what `kubectl get pods -A -o json` prints";
            warn(format!("without an address, and so not in the ruleset: {first}{more}"), help);
        }
        let with_pods = compiled.entries().filter_map(|(_, entry)| entry.endpoint.node.clone());
        let with_pods: BTreeSet<Box<str>> =
            with_pods.chain(waiting().filter_map(|pod| pod.spec.node.clone())).collect();
        if !with_pods.contains(node) {
            let nodes: BTreeSet<&str> =
                with_pods.iter().map(|node| &**node).chain(self.loaded.index.nodes().map(|node| &*node.name)).collect();
            let help = match nodes.len() {
                0 => "the input names no node at all: manifests seldom do, running pods do".to_owned(),
                1..=NODES_NAMED => format!("the nodes of the input: {}", Vec::from_iter(nodes).join(", ")),
                count => format!("none of the {count} nodes of the input has that name, or it has no pods"),
            };
            warn(format!("no pod of the input is on node `{node}`"), &help);
        }
        if self.pod_cidrs.is_empty() && self.options.unknown_pods == UnknownPods::Deny {
            let what = "so addresses of pods that are not known yet are not closed";
            let help = "give the Node object with its podCIDRs, or --pod-cidr";
            warn(format!("the range of the pods of node `{node}` is not known, {what}"), help);
        }
    }
}
