//! What a ruleset does with a packet, worked out without a kernel: the link between `evaluate` and what
//! the kernel is told, for tests and for [`explain`](crate::explain).

use super::{
    CT_ESTABLISHED, CT_INVALID, CT_UNTRACKED, Field, Hook, Key, Name, Ruleset, SetKind, Statement, TimedElements,
    Verdict, protocol_number,
};
use netsim_shared::net::Family;
use netsim_shared::ports::Protocol;
use std::net::IpAddr;
use std::time::Instant;

/// A packet as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// Who opened its connection.
    pub source: IpAddr,
    /// Who it was opened to.
    pub destination: IpAddr,
    /// The protocol; `None` for any other than the three that policies know.
    pub protocol: Option<Protocol>,
    /// The port it was opened to.
    pub port: u16,
    /// The port it was opened from.
    pub source_port: u16,
    /// Whether this packet goes the other way.
    pub reply: bool,
    /// Whether the kernel tracks its connection.
    pub tracked: bool,
    /// Whether its connection has seen packets of both directions.
    pub established: bool,
    /// The mark of its connection.
    pub mark: u32,
    /// The type of an ICMPv6 message.
    pub icmpv6: Option<u8>,
    /// Whether the source is an address of the node.
    pub from_node: bool,
}

/// Where a packet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whether it passes.
    pub passes: bool,
    /// The mark of its connection afterwards.
    pub mark: u32,
    /// The chain whose rule dropped it.
    pub dropped_in: Option<Name>,
    /// What was said with it where it was logged.
    pub logged: Vec<&'static str>,
}

/// A rule whose verdict a packet took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The chain.
    pub chain: Name,
    /// The place of the rule in it.
    pub rule: usize,
}

enum Step {
    /// To the next rule, or back to the caller.
    On,
    Accept,
    Drop(Name),
}

struct Walk<'r> {
    ruleset: &'r Ruleset,
    timed: &'r TimedElements,
    now: Instant,
    packet: Packet,
    mark: u32,
    logged: Vec<&'static str>,
    taken: Vec<Taken>,
}

/// Walks a packet through a hook. Chains that do not exist are passed as if they were empty.
///
/// NAT is not modelled: what a connection was opened to is what it was opened to before NAT, too.
/// Where packets are queued, nobody listens, or whoever does lets them pass.
pub fn walk(ruleset: &Ruleset, hook: Hook, packet: Packet) -> End {
    walk_at(ruleset, &TimedElements::default(), Instant::now(), hook, packet)
}

/// The same with elements in the timed sets, at a moment.
pub fn walk_at(ruleset: &Ruleset, timed: &TimedElements, now: Instant, hook: Hook, packet: Packet) -> End {
    let mut walk = Walk::new(ruleset, timed, now, packet);
    let later = match hook {
        Hook::Forward => Some(Hook::AfterForward),
        Hook::Output => Some(Hook::AfterOutput),
        Hook::AfterForward | Hook::AfterOutput => None,
    };
    let mut step = Step::On;
    for hook in [Some(hook), later].into_iter().flatten() {
        let base = ruleset.chains.iter().find(|(_, chain)| chain.hook == Some(hook));
        // What one base chain accepts, the next one sees.
        if !matches!(step, Step::Drop(_)) {
            step = base.map_or(Step::On, |(name, _)| walk.chain(name));
        }
    }
    let dropped_in = if let Step::Drop(chain) = step { Some(chain) } else { None };
    End { passes: dropped_in.is_none(), mark: walk.mark, dropped_in, logged: walk.logged }
}

/// The rules whose verdicts a packet takes from a chain on.
pub fn taken_from(ruleset: &Ruleset, timed: &TimedElements, now: Instant, chain: &Name, packet: Packet) -> Vec<Taken> {
    let mut walk = Walk::new(ruleset, timed, now, packet);
    walk.chain(chain);
    walk.taken
}

impl<'r> Walk<'r> {
    fn new(ruleset: &'r Ruleset, timed: &'r TimedElements, now: Instant, packet: Packet) -> Self {
        Walk { ruleset, timed, now, packet, mark: packet.mark, logged: Vec::new(), taken: Vec::new() }
    }

    fn chain(&mut self, name: &Name) -> Step {
        let Some(chain) = self.ruleset.chains.get(name) else { return Step::On };
        for (number, rule) in chain.rules.iter().enumerate() {
            let verdict = rule.iter().try_for_each(|statement| match self.statement(statement) {
                Ok(true) => Ok(()),
                Ok(false) => Err(None),
                Err(verdict) => Err(Some(verdict)),
            });
            if matches!(verdict, Err(Some(_))) {
                self.taken.push(Taken { chain: name.clone(), rule: number });
            }
            match verdict {
                Ok(()) | Err(None) => {}
                Err(Some(Verdict::Accept)) => return Step::Accept,
                Err(Some(Verdict::Drop)) => return Step::Drop(name.clone()),
                Err(Some(Verdict::Return)) => return Step::On,
                Err(Some(Verdict::Goto(chain))) => return self.chain(&chain),
                Err(Some(Verdict::Jump(chain))) => match self.chain(&chain) {
                    Step::On => {}
                    end => return end,
                },
            }
        }
        Step::On
    }

    /// Whether the rule goes on, or the verdict that ends it.
    fn statement(&mut self, statement: &Statement) -> Result<bool, Verdict> {
        let packet = self.packet;
        Ok(match statement {
            Statement::CtState(states) if packet.tracked => packet.established && states & CT_ESTABLISHED != 0,
            Statement::CtState(states) => states & (CT_INVALID | CT_UNTRACKED) != 0,
            Statement::CtOriginal => packet.tracked && !packet.reply,
            Statement::CtReply => packet.tracked && packet.reply,
            Statement::L4Protocol(number) => packet.protocol.map(protocol_number) == Some(*number),
            Statement::CtOriginalPort(port) => packet.tracked && packet.protocol.is_some() && packet.port == *port,
            Statement::CtMark { mask, value } => packet.tracked && self.mark & mask == *value,
            Statement::SetCtMark { mask, value } => {
                if packet.tracked {
                    self.mark = self.mark & !mask | value;
                }
                true
            }
            Statement::SourceIsLocal => packet.from_node,
            // Nobody forges sources here.
            Statement::CameByItsRoute => true,
            Statement::Icmpv6Type(first, last) => packet.icmpv6.is_some_and(|t| (*first..=*last).contains(&t)),
            Statement::InBlock(field, block) => self.address(*field).is_some_and(|address| block.contains(&address)),
            Statement::InSet(fields, name) => {
                let Some(set) = self.ruleset.sets.get(name) else { return Ok(false) };
                self.key(fields).is_some_and(|key| match key {
                    Key::Address(address) if set.kind.is_timed() => self.timed.holds(name, address, self.now),
                    key => holds(set.kind, &key, set).is_some(),
                })
            }
            Statement::Vmap(field, name) => {
                let Some(set) = self.ruleset.sets.get(name) else { return Ok(false) };
                let found = self.address(*field).and_then(|a| holds(set.kind, &Key::Address(a), set));
                return found.flatten().map_or(Ok(true), Err);
            }
            Statement::Log { prefix, .. } => {
                self.logged.push(prefix);
                true
            }
            // Few packets come here.
            Statement::Counter | Statement::Limit(_) => true,
            Statement::Queue { .. } => return Err(Verdict::Accept),
            Statement::Verdict(verdict) => return Err(verdict.clone()),
        })
    }

    fn address(&self, field: Field) -> Option<IpAddr> {
        let (address, family, tracked) = match field {
            Field::CtSource(family) => (self.packet.source, family, true),
            Field::CtDestination(family) | Field::CtOriginalDestination(family) => {
                (self.packet.destination, family, true)
            }
            // Of the packets that go the other way the ends are swapped.
            Field::Source(family) if self.packet.reply => (self.packet.destination, family, false),
            Field::Destination(family) if self.packet.reply => (self.packet.source, family, false),
            Field::Source(family) => (self.packet.source, family, false),
            Field::Destination(family) => (self.packet.destination, family, false),
            Field::Protocol | Field::SourcePort | Field::DestinationPort => return None,
        };
        (Family::of(address) == family && (self.packet.tracked || !tracked)).then_some(address)
    }

    fn port(&self, field: Field) -> u16 {
        let opened_to = (field == Field::SourcePort) == self.packet.reply;
        if opened_to { self.packet.port } else { self.packet.source_port }
    }

    fn key(&self, fields: &[Field]) -> Option<Key> {
        match fields {
            [Field::Protocol, port] => {
                let port = self.port(*port);
                Some(Key::L4Ports { protocol: self.packet.protocol?, first: port, last: port })
            }
            [field] => Some(Key::Address(self.address(*field)?)),
            [field, Field::Protocol, port @ (Field::SourcePort | Field::DestinationPort)] => {
                let (address, protocol) = (self.address(*field)?, self.packet.protocol?);
                let port = self.port(*port);
                Some(Key::Port { address, protocol, port })
            }
            [a, b] => Some(Key::Pair(self.address(*a)?, self.address(*b)?)),
            _ => None,
        }
    }
}

/// The value that a set has for a key; intervals hold what lies in them.
fn holds(kind: SetKind, key: &Key, set: &super::Set) -> Option<Option<Verdict>> {
    if !kind.is_interval() {
        return set.elements.get(key).cloned();
    }
    let inside = |element: &Key| match (element, key) {
        (Key::Range(first, last), Key::Address(a)) => first <= a && a <= last,
        (Key::L4Ports { protocol, first, last }, Key::L4Ports { protocol: p, first: port, .. }) => {
            protocol == p && first <= port && port <= last
        }
        _ => false,
    };
    set.elements.iter().find(|(element, _)| inside(element)).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Chain, Via};
    use std::sync::Arc;

    #[test]
    fn what_one_base_chain_accepts_the_next_one_sees() {
        let packet = Packet {
            source: [10, 0, 0, 1].into(),
            destination: [10, 96, 0, 10].into(),
            protocol: Some(Protocol::Udp),
            port: 53,
            source_port: 4711,
            reply: true,
            tracked: true,
            established: true,
            mark: 0,
            icmpv6: None,
            from_node: false,
        };
        let asked = vec![
            Statement::L4Protocol(17),
            Statement::CtOriginalPort(53),
            Statement::InBlock(Field::CtOriginalDestination(Family::V4), "10.96.0.10/32".parse().unwrap()),
            Statement::CameByItsRoute,
        ];
        let drop = vec![Statement::Verdict(Verdict::Drop)];
        let queue = vec![Statement::Queue { number: 1, via: Via::Native }];
        let with = |first: Verdict, more: &[Statement]| {
            let chain = |hook, rules| Arc::new(Chain { hook: Some(hook), rules });
            let chains = [
                ("early".into(), chain(Hook::Forward, vec![vec![Statement::Verdict(first)]])),
                ("late".into(), chain(Hook::AfterForward, vec![[&asked, more].concat(), drop.clone()])),
            ];
            Ruleset { chains: chains.into(), sets: Default::default() }
        };
        let dropped_in = |ruleset: &Ruleset, packet| walk(ruleset, Hook::Forward, packet).dropped_in;
        assert_eq!(dropped_in(&with(Verdict::Drop, &queue), packet).as_deref(), Some("early"));
        assert_eq!(dropped_in(&with(Verdict::Accept, &[]), packet).as_deref(), Some("late"));
        // What is queued sees no further rule of the chain.
        assert_eq!(dropped_in(&with(Verdict::Accept, &queue), packet), None);
        let other = Packet { port: 54, ..packet };
        assert_eq!(dropped_in(&with(Verdict::Accept, &queue), other).as_deref(), Some("late"));
    }
}
