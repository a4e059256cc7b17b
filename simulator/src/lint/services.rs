//! The pods behind Services (E1).

pub use netsim_shared::services::{Front, fronts};
