//! Equal values get one small number.

use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use std::hash::Hash;

/// Numbers distinct values from 0 in the order of their first coming.
#[derive(Debug, Clone)]
pub struct Interner<T> {
    ids: FxHashMap<T, u32>,
    items: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner { ids: FxHashMap::default(), items: Vec::new() }
    }
}

impl<T: Eq + Hash + Clone> Interner<T> {
    /// The number of a value, and whether it is new.
    pub fn intern(&mut self, value: &T) -> (u32, bool) {
        if let Some(id) = self.ids.get(value) {
            return (*id, false);
        }
        let id = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.ids.insert(value.clone(), id);
        self.items.push(value.clone());
        (id, true)
    }

    /// The number of a value that may be there.
    pub fn find<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
        self.ids.get(value).copied()
    }

    /// The value of a number that this interner gave.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.items.get(id as usize)
    }

    /// The values in the order of their numbers.
    pub fn items(&self) -> &[T] {
        &self.items
    }
}
