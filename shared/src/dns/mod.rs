//! DNS names in policies (G): what a name is, what an answer says, how long an address counts, and when
//! to ask again.
//!
//! ```text
//! schedule ── due ──▶ resolver ── Answer ──▶ answer::read ──▶ refuse::sift ──▶ store ── Changes ──▶ kernel sets
//!     ▲                                          │
//!     └────────────── done(outcome) ─────────────┘
//! ```
//!
//! All but the module `resolver` is pure: the wall clock is handed in as a [`Timestamp`], random
//! numbers as a [`Jitter`](schedule::Jitter), and what is to be kept on disk is a JSON value.
//!
//! # Feature `resolver`
//!
//! The module `resolver` asks DNS through hickory, and `wire` decodes messages that were seen on the wire. Both give an
//! [`Answer`](answer::Answer), so that chains, times to live and refusals are decided here and nowhere else.
//!
//! # A loop around it
//!
//! 1. [`Store::from_json`](store::Store::from_json), then [`Schedule::watch`](schedule::Schedule::watch) with the
//!    exact names of all policies.
//! 2. Sleep for [`Schedule::next_due`](schedule::Schedule::next_due), then
//!    [`take_due`](schedule::Schedule::take_due) and [`Store::advance`](store::Store::advance).
//! 3. Ask; hand each answer through [`Answer::read`](answer::Answer::read) and
//!    [`Refusals::sift`](refuse::Refusals::sift) to [`Store::answered`](store::Store::answered) or
//!    [`Store::failed`](store::Store::failed), and tell [`Schedule::done`](schedule::Schedule::done).
//! 4. Apply the [`Changes`](store::Changes) to the kernel, and write [`Store::to_json`](store::Store::to_json).

pub mod answer;
pub mod clock;
pub mod map;
pub mod map_file;
pub mod name;
pub mod refuse;
#[cfg(feature = "resolver")]
pub mod resolver;
pub mod schedule;
pub mod store;
#[cfg(feature = "resolver")]
pub mod wire;

pub use clock::Timestamp;
pub use map::NameMap;
pub use name::{DomainName, NamePattern};
