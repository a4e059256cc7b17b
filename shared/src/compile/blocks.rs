//! Distinct IP blocks, and the classes of addresses that they tell apart. What a pattern of names stands
//! for is such a block, too: its addresses are those that are known of it.
//!
//! The borders of all blocks cut each family into ranges; ranges that lie in the same blocks are
//! one class. An address finds its class by binary search, whatever the number of blocks.

use super::interner::Interner;
use crate::dns::{NameMap, NamePattern};
use crate::net::{AddressRange, Family, PerFamily, family_of, to_number, without};
use crate::policy::IpBlock;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The number of a distinct block.
pub type BlockId = u32;
/// The number of a class of addresses.
pub type CidrClassId = u32;
/// The class of what lies in no block.
pub const IN_NO_BLOCK: CidrClassId = 0;

/// What a rule holds addresses by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Held {
    Block(IpBlock),
    Names(NamePattern),
}

/// Blocks and the classes they make.
#[derive(Debug, Clone)]
pub struct Blocks {
    blocks: Interner<Held>,
    /// The blocks of each class, sorted.
    classes: Interner<Box<[BlockId]>>,
    /// For each class, the one that pods and nodes in its ranges have: no name stands for them (G5).
    inside: Vec<CidrClassId>,
    /// For each class, the one that it would be if all names whose addresses are not known stood for it (G6).
    perhaps_named: Vec<CidrClassId>,
    /// Where a range begins and its class; sorted, the first begins at 0.
    ranges: PerFamily<Vec<(u128, CidrClassId)>>,
    /// The class of pods without an address (B8).
    unaddressed_pod: PerFamily<Unaddressed>,
    /// The class of host-network pods and nodes without an address.
    unaddressed_node: PerFamily<Unaddressed>,
}

/// What blocks say of something whose address is not known (B8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unaddressed {
    /// Only the blocks that surely hold it.
    pub surely: CidrClassId,
    /// Those that may hold it too.
    pub maybe: CidrClassId,
}

impl Default for Blocks {
    fn default() -> Self {
        let mut classes = Interner::default();
        classes.intern(&Box::default());
        let ranges = PerFamily::from_fn(|_| vec![(0, IN_NO_BLOCK)]);
        Blocks {
            blocks: Interner::default(),
            classes,
            inside: Vec::new(),
            perhaps_named: Vec::new(),
            ranges,
            unaddressed_pod: PerFamily::default(),
            unaddressed_node: PerFamily::default(),
        }
    }
}

/// The addresses of a block: its CIDR without the exceptions.
pub fn ranges_of(block: &IpBlock) -> Vec<AddressRange> {
    let holes: Vec<AddressRange> = block.except.iter().map(AddressRange::from).collect();
    without((&block.cidr).into(), &holes)
}

impl Blocks {
    /// How many distinct blocks and patterns of names there were so far.
    pub fn numbers(&self) -> usize {
        self.blocks.items().len()
    }

    /// The number of a block, and whether it is new: then [`Blocks::rebuild`] is due.
    pub fn intern(&mut self, block: &IpBlock) -> (BlockId, bool) {
        self.blocks.intern(&Held::Block(block.clone()))
    }

    /// The same for what a pattern of names stands for.
    pub fn intern_names(&mut self, pattern: &NamePattern) -> (BlockId, bool) {
        self.blocks.intern(&Held::Names(pattern.clone()))
    }

    /// The pattern of names that a number is for, if it is for one.
    pub fn pattern(&self, block: BlockId) -> Option<&NamePattern> {
        match self.blocks.get(block)? {
            Held::Names(pattern) => Some(pattern),
            Held::Block(_) => None,
        }
    }

    /// How many blocks there are; their numbers begin at 0.
    pub fn count(&self) -> BlockId {
        BlockId::try_from(self.blocks.items().len()).unwrap_or(BlockId::MAX)
    }

    /// Makes the classes anew. `pod_ranges` are the known ranges of pod addresses (B8), `names` what is
    /// known of names.
    pub fn rebuild(&mut self, pod_ranges: &PerFamily<Vec<AddressRange>>, names: &NameMap) {
        self.classes = Interner::default();
        self.classes.intern(&Box::default());
        let mut by_block: Vec<(BlockId, Family, Vec<AddressRange>)> = Vec::new();
        for (id, held) in (0..).zip(self.blocks.items()) {
            match held {
                Held::Block(block) => by_block.push((id, family_of(&block.cidr), ranges_of(block))),
                Held::Names(pattern) => {
                    for address in names.matching(pattern) {
                        by_block.push((
                            id,
                            Family::of(address),
                            vec![AddressRange { first: to_number(address), last: to_number(address) }],
                        ));
                    }
                }
            }
        }
        let of_family = |family: Family| by_block.iter().filter(move |(_, f, _)| *f == family);
        for family in Family::ALL {
            let mut borders: Vec<(u128, bool, BlockId)> = Vec::new();
            for (id, _, ranges) in of_family(family) {
                for range in ranges {
                    borders.push((range.first, true, *id));
                    if range.last < family.last() {
                        borders.push((range.last + 1, false, *id));
                    }
                }
            }
            borders.sort_unstable();
            let mut inside: BTreeSet<BlockId> = BTreeSet::new();
            let mut ranges = vec![(0, IN_NO_BLOCK)];
            let mut rest = borders.as_slice();
            while let Some(&(at, _, _)) = rest.first() {
                let same = rest.iter().take_while(|(border, _, _)| *border == at).count();
                let (here, after) = rest.split_at(same);
                for (_, begins, id) in here {
                    if *begins {
                        inside.insert(*id)
                    } else {
                        inside.remove(id)
                    };
                }
                let class = self.classes.intern(&inside.iter().copied().collect()).0;
                match ranges.last_mut() {
                    Some((start, last)) if *start == at => *last = class,
                    Some((_, last)) if *last == class => {}
                    _ => ranges.push((at, class)),
                }
                rest = after;
            }
            *self.ranges.get_mut(family) = ranges;
            let whole = AddressRange { first: 0, last: family.last() };
            let known = pod_ranges.get(family);
            let (mut pod, mut node) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            // Pods and nodes have no part in what names stand for (G5).
            for (id, _, ranges) in of_family(family).filter(|(id, _, _)| self.pattern(*id).is_none()) {
                let covers =
                    |wanted: &AddressRange| ranges.iter().any(|r| r.first <= wanted.first && wanted.last <= r.last);
                let touches =
                    |wanted: &AddressRange| ranges.iter().any(|r| r.first <= wanted.last && wanted.first <= r.last);
                let everything = covers(&whole);
                let sure = everything || (!known.is_empty() && known.iter().all(covers));
                let possible = known.is_empty() || known.iter().any(touches);
                for (lists, surely, maybe) in [(&mut pod, sure, sure || possible), (&mut node, everything, true)] {
                    let [sure_list, maybe_list] = lists;
                    if surely {
                        sure_list.push(*id);
                    }
                    if maybe {
                        maybe_list.push(*id);
                    }
                }
            }
            let mut class = |[surely, maybe]: [Vec<BlockId>; 2]| Unaddressed {
                surely: self.classes.intern(&surely.into()).0,
                maybe: self.classes.intern(&maybe.into()).0,
            };
            *self.unaddressed_pod.get_mut(family) = class(pod);
            *self.unaddressed_node.get_mut(family) = class(node);
        }
        self.relate_names(names);
    }

    /// What each class is without names, and what it may be with them.
    fn relate_names(&mut self, names: &NameMap) {
        let patterns = (0..).zip(self.blocks.items()).filter_map(|(id, held)| match held {
            Held::Names(pattern) => Some((id, pattern)),
            Held::Block(_) => None,
        });
        let (mut named, mut open) = (BTreeSet::new(), Vec::new());
        for (id, pattern) in patterns {
            named.insert(id);
            if !names.knows(pattern) {
                open.push(id);
            }
        }
        (self.inside, self.perhaps_named) = (Vec::new(), Vec::new());
        if named.is_empty() {
            return;
        }
        for blocks in self.classes.items().to_vec() {
            let inside = blocks.iter().copied().filter(|id| !named.contains(id)).collect();
            let perhaps: BTreeSet<BlockId> = blocks.iter().chain(&open).copied().collect();
            self.inside.push(self.classes.intern(&inside).0);
            self.perhaps_named.push(self.classes.intern(&perhaps.into_iter().collect()).0);
        }
    }

    /// The class of a pod or node whose address has a class: names do not stand for it (G5).
    pub fn inside(&self, class: CidrClassId) -> CidrClassId {
        self.inside.get(class as usize).copied().unwrap_or(class)
    }

    /// Whether rules hold any address by name.
    pub fn has_names(&self) -> bool {
        !self.perhaps_named.is_empty()
    }

    /// The class of an address if every name whose addresses are not known stood for it, too (G6).
    pub fn perhaps_named(&self, class: CidrClassId) -> CidrClassId {
        self.perhaps_named.get(class as usize).copied().unwrap_or(class)
    }

    /// The class of an address.
    pub fn class_of(&self, address: IpAddr) -> CidrClassId {
        let ranges = self.ranges.get(Family::of(address));
        let number = to_number(address);
        let after = ranges.partition_point(|(first, _)| *first <= number);
        ranges.get(after.saturating_sub(1)).map_or(IN_NO_BLOCK, |(_, class)| *class)
    }

    /// What is known of a pod of a family whose address is not known.
    pub fn unaddressed(&self, family: Family, host_network: bool) -> Unaddressed {
        *(if host_network { &self.unaddressed_node } else { &self.unaddressed_pod }).get(family)
    }

    /// Whether the addresses of a class lie in a block.
    pub fn holds(&self, block: BlockId, class: CidrClassId) -> bool {
        self.blocks_of(class).binary_search(&block).is_ok()
    }

    /// The blocks that the addresses of a class lie in, sorted.
    pub fn blocks_of(&self, class: CidrClassId) -> &[BlockId] {
        self.classes.get(class).map_or(&[], |blocks| blocks)
    }

    /// The ranges of a family and their classes, in order, the whole family.
    pub fn ranges(&self, family: Family) -> impl Iterator<Item = (AddressRange, CidrClassId)> {
        let ranges = self.ranges.get(family);
        let ends = ranges.iter().skip(1).map(|(next, _)| next - 1).chain([family.last()]);
        ranges.iter().zip(ends).map(|((first, class), last)| (AddressRange { first: *first, last }, *class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        IpBlock { cidr: cidr.parse().unwrap(), except: except.iter().map(|e| e.parse().unwrap()).collect() }
    }

    #[test]
    fn classes_agree_with_the_blocks() {
        let list = [
            block("0.0.0.0/0", &["10.0.0.0/8"]),
            block("10.0.0.0/8", &["10.1.0.0/16", "10.1.2.0/24"]),
            block("10.1.2.3/32", &[]),
            block("0.0.0.0/0", &[]),
            block("::/0", &["ff00::/8"]),
            block("255.255.255.255/32", &[]),
        ];
        let mut blocks = Blocks::default();
        list.iter().for_each(|b| _ = blocks.intern(b));
        blocks.rebuild(&PerFamily::default(), &NameMap::default());
        for text in [
            "0.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.1.2.3",
            "10.1.2.4",
            "11.0.0.0",
            "255.255.255.255",
            "::",
            "ff00::",
            "feff::",
        ] {
            let address: IpAddr = text.parse().unwrap();
            for (id, block) in (0..).zip(&list) {
                let inside = block.cidr.contains(&address) && !block.except.iter().any(|e| e.contains(&address));
                assert_eq!(blocks.holds(id, blocks.class_of(address)), inside, "{address} in {block}");
            }
        }
    }
}
