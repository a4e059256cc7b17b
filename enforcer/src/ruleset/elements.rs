//! The elements of a set, cheap to copy and to compare where most of it stayed as it was.
//!
//! A map of a cluster's addresses has tens of thousands of elements, of which an event changes one.
//! Elements lie in shards by a hash of their key; copies share shards, and what two copies share
//! need not be compared.

use super::{Key, Verdict};
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The verdict of a map's element; `None` in sets.
pub type Value = Option<Verdict>;
type Shard = BTreeMap<Key, Value>;
/// Elements in a list.
pub type List = Vec<(Key, Value)>;

/// Above so many elements there are [`SHARDS`] of them.
const LARGE: usize = 2048;
/// Shards of large sets; a power of two.
const SHARDS: usize = 256;

/// Elements by key.
#[derive(Debug, Clone)]
pub struct Elements {
    shards: Vec<Arc<Shard>>,
    len: usize,
}

impl Default for Elements {
    fn default() -> Self {
        Elements { shards: vec![Arc::default()], len: 0 }
    }
}

impl Elements {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.shards.get(self.shard_of(key)).and_then(|shard| shard.get(key))
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// All of them by key.
    pub fn sorted(&self) -> Vec<(&Key, &Value)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        all
    }

    /// Puts an element in, or in place of the one of its key.
    pub fn insert(&mut self, key: Key, value: Value) {
        let shard = self.shard_of(&key);
        let Some(shard) = self.shards.get_mut(shard) else { return };
        if shard.get(&key) == Some(&value) {
            return;
        }
        if Arc::make_mut(shard).insert(key, value).is_none() {
            self.len += 1;
        }
        if self.len > LARGE && self.shards.len() == 1 {
            self.spread();
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, key: &Key) {
        let shard = self.shard_of(key);
        let Some(shard) = self.shards.get_mut(shard) else { return };
        if shard.contains_key(key) && Arc::make_mut(shard).remove(key).is_some() {
            self.len -= 1;
        }
    }

    /// Makes the elements exactly these, each key named once; what stays the same stays shared with
    /// copies.
    pub fn become_these(&mut self, these: &[(Key, Value)]) {
        these.iter().for_each(|(key, value)| self.insert(*key, value.clone()));
        if self.len != these.len() {
            let keys: FxHashSet<&Key> = these.iter().map(|(key, _)| key).collect();
            let gone: Vec<Key> = self.iter().map(|(key, _)| *key).filter(|key| !keys.contains(key)).collect();
            gone.iter().for_each(|key| self.remove(key));
        }
    }

    /// What has to be taken out of and put into `self` to make it `new`. A key whose value changed
    /// is in both lists.
    pub fn changes_to(&self, new: &Elements) -> (List, List) {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let missing_in = |own: &Shard, other: &dyn Fn(&Key) -> Option<Value>, list: &mut List| {
            list.extend(own.iter().filter(|(k, v)| other(k).as_ref() != Some(v)).map(|(k, v)| (*k, v.clone())));
        };
        if self.shards.len() == new.shards.len() {
            for (old, new) in self.shards.iter().zip(&new.shards).filter(|(old, new)| !Arc::ptr_eq(old, new)) {
                missing_in(old, &|key| new.get(key).cloned(), &mut gone);
                missing_in(new, &|key| old.get(key).cloned(), &mut come);
            }
        } else {
            self.shards.iter().for_each(|shard| missing_in(shard, &|key| new.get(key).cloned(), &mut gone));
            new.shards.iter().for_each(|shard| missing_in(shard, &|key| self.get(key).cloned(), &mut come));
        }
        (gone, come)
    }

    fn shard_of(&self, key: &Key) -> usize {
        // Only the low bits are used; FxHash leaves the entropy in the high ones.
        if self.shards.len() == 1 { 0 } else { (FxBuildHasher.hash_one(key) >> 40) as usize % self.shards.len() }
    }

    fn spread(&mut self) {
        let all = std::mem::replace(&mut self.shards, vec![Arc::default(); SHARDS]);
        for (key, value) in all.iter().flat_map(|shard| shard.iter()) {
            let shard = self.shard_of(key);
            if let Some(shard) = self.shards.get_mut(shard) {
                Arc::make_mut(shard).insert(*key, value.clone());
            }
        }
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        let same = || {
            let (gone, come) = self.changes_to(other);
            gone.is_empty() && come.is_empty()
        };
        self.len == other.len && same()
    }
}

impl Eq for Elements {}

impl FromIterator<(Key, Value)> for Elements {
    fn from_iter<T: IntoIterator<Item = (Key, Value)>>(items: T) -> Self {
        let shard: Shard = items.into_iter().collect();
        let mut elements = Elements { len: shard.len(), shards: vec![Arc::new(shard)] };
        if elements.len > LARGE {
            elements.spread();
        }
        elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn address(n: usize) -> Key {
        Key::Address(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap())))
    }

    #[test]
    fn small_and_large_ones_hold_what_was_put_in_and_differ_by_what_changed() {
        for count in [0, 10, LARGE, LARGE + 1, 3 * LARGE] {
            let old: Elements = (0..count).map(|n| (address(n), None)).collect();
            assert_eq!(old.len(), count);
            assert_eq!(old.iter().count(), count);
            let mut new = old.clone();
            assert_eq!(new, old);
            new.insert(address(count), None);
            new.insert(address(0), Some(Verdict::Return));
            new.remove(&address(1));
            new.remove(&address(count + 7));
            let (mut gone, mut come) = old.changes_to(&new);
            gone.sort_unstable();
            come.sort_unstable();
            let had = |n: usize| (n < count).then(|| (address(n), None));
            assert_eq!(gone, [had(0), had(1)].into_iter().flatten().collect::<Vec<_>>());
            let mut expected = vec![(address(0), Some(Verdict::Return)), (address(count), None)];
            expected.dedup_by_key(|(key, _)| *key);
            let last = if count == 0 { vec![(address(0), Some(Verdict::Return))] } else { expected };
            assert_eq!(come, last);
            assert_eq!(new.iter().count(), new.len());
            let these: Vec<_> = new.iter().map(|(key, value)| (*key, value.clone())).collect();
            let mut other = old.clone();
            other.become_these(&these);
            assert_eq!(other, new);
        }
    }
}
