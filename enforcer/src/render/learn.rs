//! The part of the ruleset that hands DNS answers for pods to a queue, so that what they say is in
//! force before a pod reads it.
//!
//! ```text
//! forward ── dns_forward ── an answer of port 53 ── from a resolver, for a pod that learns, by its route? ── queue
//! output ─── dns_output ─── an answer of port 53 ── from a resolver, for a pod that learns, of the node? ── queue
//! ```
//!
//! These are base chains of their own, behind those that judge: what is denied is not held, what was
//! judged in an earlier generation is judged as ever, and where nothing is learned they are not there.
//! (A packet that went through a queue goes on behind the chain that queued it, so a rule before the
//! judging ones would let it pass unjudged.)
//!
//! A resolver is recognised by the address that the pod asked, and by the one that answered: they
//! differ where a Service is in between. The port is the one that the pod asked, whatever the
//! resolver itself listens on. A cache on the node that keeps its packets from being tracked
//! (NodeLocal DNSCache does) is recognised by the packet's own addresses and ports.
//!
//! Any pod could send an answer with the address of a resolver for its source, even to itself, and so
//! allow itself any address. So an answer counts only if it came by an interface by which its sender
//! is reached. On the bridge of the resolver itself that says nothing about its neighbours there: only
//! a network that drops forged sources does.

use super::frame::digit;
use crate::ruleset::{
    CT_UNTRACKED, Chain, Field, Hook, Key, Name, Rule, Set, SetKind, Statement, Verdict, Via, protocol_number,
};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The port of DNS.
const PORT: u16 = 53;
/// What answers come by.
const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// Whose answers are held, for whom, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learning {
    /// The resolvers: addresses of Services, of the servers behind them, or both.
    pub resolvers: Vec<IpAddr>,
    /// The number of the queue.
    pub queue: u16,
    /// What the kernel has for it, see [`Queueing`](crate::kernel::Queueing).
    pub via: Via,
}

/// Chains and sets to be put into a ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Chains by name.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// Sets by name.
    pub sets: BTreeMap<Name, Arc<Set>>,
}

/// The name of the set of the pods that learn.
pub fn pods_set(family: Family) -> Name {
    format!("dns_pods{}", digit(family)).into()
}

fn servers_set(family: Family) -> Name {
    format!("dns_servers{}", digit(family)).into()
}

fn sources_set(family: Family) -> Name {
    format!("dns_sources{}", digit(family)).into()
}

/// What holds the answers of resolvers; nothing, when there are none.
pub fn parts(learning: &Learning) -> Parts {
    let mut parts = Parts::default();
    let of = |family| learning.resolvers.iter().filter(move |address| Family::of(**address) == family);
    let families: Vec<Family> = Family::ALL.into_iter().filter(|family| of(*family).next().is_some()).collect();
    if families.is_empty() {
        return parts;
    }
    for family in &families {
        let servers = of(*family).map(|address| (Key::Address(*address), None)).collect();
        let set = Set::new(SetKind::Addresses(*family), servers);
        parts.sets.insert(servers_set(*family), Arc::new(set));
        let port = |address: &IpAddr| {
            let address = *address;
            PROTOCOLS.map(|protocol| (Key::Port { address, protocol, port: PORT }, None))
        };
        let set = Set::new(SetKind::Ports(*family), of(*family).flat_map(port).collect());
        parts.sets.insert(sources_set(*family), Arc::new(set));
    }
    let hooks = [
        ("dns_forward", Hook::AfterForward, Statement::CameByItsRoute),
        ("dns_output", Hook::AfterOutput, Statement::SourceIsLocal),
    ];
    for (name, hook, genuine) in hooks {
        let (answers, untracked) = (format!("{name}_answers"), format!("{name}_untracked"));
        let mut add = |name: &str, hook: Option<Hook>, rules: Vec<Rule>| {
            parts.chains.insert(name.into(), Arc::new(Chain { hook, rules }));
        };
        add(name, Some(hook), dispatch(&answers, &untracked));
        let held = |mut rule: Rule| {
            rule.extend([genuine.clone(), Statement::Queue { number: learning.queue, via: learning.via }]);
            rule
        };
        add(&answers, None, families.iter().flat_map(|family| tracked(*family)).map(held).collect());
        add(&untracked, None, families.iter().map(|family| held(by_packet(*family))).collect());
    }
    parts
}

/// What is no answer leaves by the first rule that can tell.
fn dispatch(answers: &str, untracked: &str) -> Vec<Rule> {
    let goto = |chain: &str| Statement::Verdict(Verdict::Goto(chain.into()));
    let mut rules = vec![vec![Statement::CtOriginal, Statement::Verdict(Verdict::Accept)]];
    rules.extend(PROTOCOLS.map(|protocol| {
        vec![Statement::L4Protocol(protocol_number(protocol)), Statement::CtOriginalPort(PORT), goto(answers)]
    }));
    rules.push(vec![Statement::CtState(CT_UNTRACKED), goto(untracked)]);
    rules
}

/// An answer, by its connection. The pod comes first: most who ask do not learn, and all who ask, ask
/// a resolver.
fn tracked(family: Family) -> [Rule; 2] {
    [Field::CtOriginalDestination(family), Field::CtDestination(family)].map(|server| {
        vec![
            Statement::InSet(vec![Field::CtSource(family)], pods_set(family)),
            Statement::InSet(vec![server], servers_set(family)),
        ]
    })
}

/// An answer, by the addresses and the port of the packet.
fn by_packet(family: Family) -> Rule {
    let source = vec![Field::Source(family), Field::Protocol, Field::SourcePort];
    vec![
        Statement::InSet(vec![Field::Destination(family)], pods_set(family)),
        Statement::InSet(source, sources_set(family)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Ruleset;
    use crate::ruleset::text::table;

    fn with(resolvers: &[&str]) -> Parts {
        let resolvers: Vec<IpAddr> = resolvers.iter().map(|address| address.parse().unwrap()).collect();
        parts(&Learning { resolvers, queue: 4712, via: Via::Compat })
    }

    #[test]
    fn without_resolvers_there_is_nothing() {
        assert_eq!(with(&[]), Parts::default());
    }

    #[test]
    fn answers_of_resolvers_are_queued_and_all_else_leaves_early() {
        let Parts { chains, sets } = with(&["10.96.0.10", "fd00::a", "10.0.0.9"]);
        insta::assert_snapshot!(table("netsim", &Ruleset { chains, sets }), @r#"
        table inet netsim {
        	set dns_servers4 {
        		type ipv4_addr
        		elements = { 10.0.0.9,
        			     10.96.0.10 }
        	}

        	set dns_servers6 {
        		type ipv6_addr
        		elements = { fd00::a }
        	}

        	set dns_sources4 {
        		type ipv4_addr . inet_proto . inet_service
        		elements = { 10.0.0.9 . tcp . 53,
        			     10.0.0.9 . udp . 53,
        			     10.96.0.10 . tcp . 53,
        			     10.96.0.10 . udp . 53 }
        	}

        	set dns_sources6 {
        		type ipv6_addr . inet_proto . inet_service
        		elements = { fd00::a . tcp . 53,
        			     fd00::a . udp . 53 }
        	}

        	chain dns_forward {
        		type filter hook forward priority filter - 9; policy accept;
        		ct direction original accept
        		meta l4proto udp ct original proto-dst 53 goto dns_forward_answers
        		meta l4proto tcp ct original proto-dst 53 goto dns_forward_answers
        		ct state untracked goto dns_forward_untracked
        	}

        	chain dns_forward_answers {
        		ct original ip saddr @dns_pods4 ct original ip daddr @dns_servers4 fib saddr . iif oif exists queue num 4712 bypass
        		ct original ip saddr @dns_pods4 ct reply ip saddr @dns_servers4 fib saddr . iif oif exists queue num 4712 bypass
        		ct original ip6 saddr @dns_pods6 ct original ip6 daddr @dns_servers6 fib saddr . iif oif exists queue num 4712 bypass
        		ct original ip6 saddr @dns_pods6 ct reply ip6 saddr @dns_servers6 fib saddr . iif oif exists queue num 4712 bypass
        	}

        	chain dns_forward_untracked {
        		ip daddr @dns_pods4 ip saddr . meta l4proto . th sport @dns_sources4 fib saddr . iif oif exists queue num 4712 bypass
        		ip6 daddr @dns_pods6 ip6 saddr . meta l4proto . th sport @dns_sources6 fib saddr . iif oif exists queue num 4712 bypass
        	}

        	chain dns_output {
        		type filter hook output priority filter - 9; policy accept;
        		ct direction original accept
        		meta l4proto udp ct original proto-dst 53 goto dns_output_answers
        		meta l4proto tcp ct original proto-dst 53 goto dns_output_answers
        		ct state untracked goto dns_output_untracked
        	}

        	chain dns_output_answers {
        		ct original ip saddr @dns_pods4 ct original ip daddr @dns_servers4 fib saddr type local queue num 4712 bypass
        		ct original ip saddr @dns_pods4 ct reply ip saddr @dns_servers4 fib saddr type local queue num 4712 bypass
        		ct original ip6 saddr @dns_pods6 ct original ip6 daddr @dns_servers6 fib saddr type local queue num 4712 bypass
        		ct original ip6 saddr @dns_pods6 ct reply ip6 saddr @dns_servers6 fib saddr type local queue num 4712 bypass
        	}

        	chain dns_output_untracked {
        		ip daddr @dns_pods4 ip saddr . meta l4proto . th sport @dns_sources4 fib saddr type local queue num 4712 bypass
        		ip6 daddr @dns_pods6 ip6 saddr . meta l4proto . th sport @dns_sources6 fib saddr type local queue num 4712 bypass
        	}
        }
        "#);
    }

    #[test]
    fn a_family_without_resolvers_has_no_rules() {
        let Parts { chains, sets } = with(&["fd00::a"]);
        let text = table("netsim", &Ruleset { chains, sets });
        assert!(text.contains("@dns_servers6") && !text.contains("@dns_servers4"), "{text}");
    }
}
