//! Pods and nodes as network namespaces, and real packets between them.
//!
//! ```text
//!              ┌─ node-1 ─┬─ pod     routed: a veth and a host route a pod
//! outside ── underlay     └─ pod     bridged: ports of `cni0`, so that pods of one node meet on layer 2
//!              └─ node-2 ─── pod
//! ```
//!
//! Every box is a namespace of its own, and a [`Place`]. The underlay is one router, so that any pod
//! can have any address. All of it lives in a private network and mount namespace that [`enter`]
//! makes, needs no root where the kernel allows user namespaces, and goes away with the process.
//! While it lives, the namespaces have names: `nsenter -t PID -m ip netns` lists them (`-U` as well without root).
//!
//! ```no_run
//! use netsim_shared::{net::Family, ports::Protocol};
//! use netsim_testkit::netns::{self, Fabric, Layout, Outcome, Probe, Wiring};
//!
//! netns::enter(); // first thing in `main`
//! let fabric = Fabric::build(&Layout::grid(3, 3, Wiring::Bridged));
//! let (client, server) = (fabric.pod("pod-1-1"), fabric.pod("pod-2-1"));
//! server.listen(Protocol::Tcp, 80);
//! let to = server.at(Family::V4, 80);
//! assert_eq!(fabric.probe(&Probe::tcp(&client, to)), Outcome::Reached);
//!
//! let flow = fabric.flow(&client, to, Protocol::Tcp).start();
//! fabric.node("node-2").nft("table inet t { chain c { type filter hook forward priority 0; tcp dport 80 drop; }; }");
//! let cut = std::time::Instant::now();
//! flow.wait_until_sent(cut, 20);
//! assert!(flow.at_server().iter().all(|arrival| arrival.sent < cut));
//! ```
//!
//! What is wrong with a test's own set-up panics with the names of what it is about.

mod count;
mod engine;
mod enter;
mod fabric;
mod flow;
mod layout;
mod message;
mod place;
mod probe;
mod responder;
mod sctp;
mod service;
mod sockets;
mod space;
mod storm;
mod wiring;

pub use count::{Counter, Packets};
pub use enter::enter;
pub use fabric::Fabric;
pub use flow::{Flow, FlowBuilder};
pub use layout::{Layout, Wiring};
pub use message::Arrival;
pub use place::Place;
pub use probe::{Outcome, Probe, Prober};
pub use service::Service;
pub use storm::{Storm, StormBuilder, Try};
