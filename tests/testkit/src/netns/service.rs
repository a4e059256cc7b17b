//! A service: destination NAT on a node, the way kube-proxy does it.

use super::place::Place;
use netsim_shared::ports::Protocol;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A virtual address that a node translates to backends in turn, for what passes through it and for
/// what it sends itself; until it is dropped. Made by [`Place::service`].
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Service {
    node: Place,
    table: String,
    at: SocketAddr,
    protocol: Protocol,
    backends: Vec<SocketAddr>,
}

impl Place {
    /// Makes this node translate an address and port to one of the backends, as a table of its own.
    ///
    /// # Panics
    /// If there are no backends, or some are of another family.
    pub fn service(&self, protocol: Protocol, at: SocketAddr, backends: &[SocketAddr]) -> Service {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        assert!(!backends.is_empty(), "service {at} without backends: leave it out");
        assert!(
            backends.iter().all(|b| b.is_ipv4() == at.is_ipv4()),
            "service {at} has backends of another family: {backends:?}"
        );
        let table = format!("netns_service_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let service = Service { node: self.clone(), table, at, protocol, backends: backends.to_vec() };
        self.nft(&service.text());
        service
    }
}

impl Service {
    /// Where it is asked for.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// Hides the sources behind the node's address as well.
    pub fn masquerade(self) -> Self {
        let (ip, address) = (self.family(), self.at.ip());
        self.node.nft(&format!(
            "table inet {} {{\n\
               chain postrouting {{\n\
                 type nat hook postrouting priority srcnat\n\
                 ct original {ip} daddr {address} masquerade\n\
               }}\n\
             }}\n",
            self.table
        ));
        self
    }

    fn family(&self) -> &'static str {
        if self.at.is_ipv4() { "ip" } else { "ip6" }
    }

    fn text(&self) -> String {
        let (ip, protocol) = (self.family(), self.protocol.as_str().to_lowercase());
        let (address, port) = (self.at.ip(), self.at.port());
        let targets: Vec<String> =
            self.backends.iter().enumerate().map(|(i, b)| format!("{i} : {} . {}", b.ip(), b.port())).collect();
        let rule = format!(
            "{ip} daddr {address} {protocol} dport {port} dnat {ip} addr . port to numgen inc mod {} map {{ {} }}",
            targets.len(),
            targets.join(", ")
        );
        format!(
            "table inet {} {{\n\
               chain prerouting {{\n type nat hook prerouting priority dstnat\n {rule}\n }}\n\
               chain output {{\n type nat hook output priority -100\n {rule}\n }}\n\
             }}\n",
            self.table
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Somebody may have flushed all of it.
        let _ = self.node.try_nft(&format!("delete table inet {}\n", self.table));
    }
}
