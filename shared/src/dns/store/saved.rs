//! A store as a versioned JSON value, so that a restart forgets nothing.

use super::{Ends, OfFamily, Store, StoreOptions};
use crate::dns::clock::Timestamp;
use crate::dns::name::DomainName;
use crate::net::{Family, PerFamily};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What is on disk says this of itself.
const FORMAT: &str = "netsim-dns-answers";
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    format: String,
    version: u64,
    saved: Timestamp,
    names: Vec<SavedName>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SavedName {
    name: DomainName,
    family: SavedFamily,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    answered: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failing: Option<Timestamp>,
    addresses: BTreeMap<IpAddr, Timestamp>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum SavedFamily {
    IPv4,
    IPv6,
}

/// A store that was read back.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The store.
    pub store: Store,
    /// How many addresses had ended since it was written.
    pub ended: usize,
    /// How many addresses were more than the bounds allow, which may have changed since.
    pub evicted: usize,
}

/// Why a saved store was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// It is something else.
    Foreign,
    /// It was written by another version, which says things that this one may misread.
    Version(u64),
    /// It says what it is, but cannot be what was written: how so.
    Corrupt(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Foreign => write!(f, "these are no saved DNS answers: `format` is not `{FORMAT}`"),
            LoadError::Version(version) => {
                write!(f, "the saved DNS answers have version {version}, and only version {VERSION} is known")
            }
            LoadError::Corrupt(why) => write!(f, "the saved DNS answers are damaged: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl Store {
    /// The store as a JSON value, to be written by the caller. Ends are times of day.
    pub fn to_json(&self) -> Value {
        let names = self.names.iter().flat_map(|(name, of)| Family::ALL.map(|family| (name, family, of.get(family))));
        let names = names.filter(|(.., of)| !of.is_blank()).map(|(name, family, of)| SavedName {
            name: name.clone(),
            family: match family {
                Family::V4 => SavedFamily::IPv4,
                Family::V6 => SavedFamily::IPv6,
            },
            answered: of.answered.map(|at| self.clock.wall_at(at)),
            failing: of.failing.map(|since| self.clock.wall_at(since)),
            addresses: of.addresses.iter().map(|(a, ends)| (*a, self.clock.wall_at(ends.own))).collect(),
        });
        let saved = Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            saved: self.clock.wall_at(self.clock.now()),
            names: names.collect(),
        };
        // Keys are texts and values numbers: there is nothing that JSON could not say.
        serde_json::to_value(saved).unwrap_or_default()
    }

    /// Reads a store back. What has ended since it was written is left out; the time in between counts in full, unless
    /// the clock is now behind: then it counts as none (G3c). No end is farther away than it could be from now on.
    ///
    /// # Errors
    /// When the value is something else, of another version, or damaged.
    pub fn from_json(value: &Value, options: StoreOptions, now: Timestamp) -> Result<Loaded, LoadError> {
        let header = Header::deserialize(value).map_err(|_| LoadError::Foreign)?;
        if header.format != FORMAT {
            return Err(LoadError::Foreign);
        }
        if header.version != VERSION {
            return Err(LoadError::Version(header.version));
        }
        let saved = Saved::deserialize(value).map_err(|e| LoadError::Corrupt(e.to_string()))?;

        // Everything is placed as it stood when it was written; then time passes.
        let mut store = Store::new(options, saved.saved);
        let (then, at) = (store.clock.now(), |stamp| store.clock.moment_at(stamp));
        let latest = then.after(store.options.longest());
        let mut names: BTreeMap<DomainName, PerFamily<OfFamily>> = BTreeMap::new();
        for one in saved.names {
            let family = match one.family {
                SavedFamily::IPv4 => Family::V4,
                SavedFamily::IPv6 => Family::V6,
            };
            let of = names.entry(one.name.clone()).or_default().get_mut(family);
            if !of.is_blank() {
                return Err(LoadError::Corrupt(format!("`{}` stands there twice for {family}", one.name)));
            }
            // Neither can lie in the future.
            of.answered = one.answered.map(|stamp| at(stamp).min(then));
            of.failing = one.failing.map(|stamp| at(stamp).min(then));
            for (address, stamp) in one.addresses {
                if Family::of(address) != family {
                    return Err(LoadError::Corrupt(format!("`{}` has `{address}` among {family} addresses", one.name)));
                }
                let end = at(stamp).min(latest);
                of.addresses.insert(address, Ends { own: end, kept: end });
            }
        }
        store.names = names;
        store.ends = store
            .names
            .iter()
            .flat_map(|(name, of)| {
                let addresses = Family::ALL.into_iter().flat_map(|family| of.get(family).addresses.iter());
                addresses.map(|(address, ends)| (ends.kept, name.clone(), *address))
            })
            .collect();
        store.clock.leap(now);
        let all = store.len();
        let mut before = store.begin(now);
        let ended = all - store.len();
        let names: Vec<DomainName> = store.names.keys().cloned().collect();
        let mut evicted = 0;
        for name in &names {
            for family in Family::ALL {
                evicted += store.hold_bounds(name, family, &mut before).len();
            }
        }
        _ = store.finish(before, Vec::new());
        Ok(Loaded { store, ended, evicted })
    }
}
