//! The network interfaces of the namespace, and which of them are switches that pods hang on.

use super::netlink::{attribute, attributes, dump, put, text, u32_at};
use ipnet::IpNet;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;

const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
/// `struct ifinfomsg`.
const LINK_BODY: usize = 16;

const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `struct ifaddrmsg`.
const ADDRESS_BODY: usize = 8;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it: `bridge`, `veth`, `tun`; empty for hardware.
    pub kind: String,
    /// The number of the switch or bond that it belongs to.
    pub master: Option<u32>,
    /// For a bridge: whether it shows its own packets to netfilter, IPv4 and IPv6, whatever the
    /// setting for all bridges is.
    pub own_filter: (bool, bool),
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Link {
    /// Whether pods and virtual machines are behind interfaces of this kind.
    fn leads_to_pod(&self) -> bool {
        matches!(self.kind.as_str(), "veth" | "tun" | "netkit")
    }
}

/// The links of the namespace of the calling thread.
pub(super) fn list() -> Result<Vec<Link>, Errno> {
    let mut request = vec![0; LINK_BODY];
    put(&mut request, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    for message in dump(None, RTM_GETLINK, &request)? {
        let link = read_link(&message).ok_or(Errno::BADMSG)?;
        links.insert(link.index, link);
    }
    for message in dump(None, RTM_GETADDR, &[0; ADDRESS_BODY])? {
        let (index, address) = read_address(&message).ok_or(Errno::BADMSG)?;
        // One that went away in between has no addresses.
        if let (Some(link), Some(address)) = (links.get_mut(&index), address) {
            link.addresses.push(address);
        }
    }
    Ok(links.into_values().collect())
}

fn read_link(message: &[u8]) -> Option<Link> {
    let mut link = Link { index: u32_at(message, 4)?, ..Link::default() };
    for (number, value) in attributes(message.get(LINK_BODY..)?) {
        match number {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINKINFO => {
                link.kind = attribute(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
                if link.kind == "bridge" {
                    let data = attribute(value, IFLA_INFO_DATA).unwrap_or_default();
                    let set = |number| attribute(data, number).is_some_and(|value| value.first() == Some(&1));
                    link.own_filter = (set(IFLA_BR_NF_CALL_IPTABLES), set(IFLA_BR_NF_CALL_IP6TABLES));
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// The interface and its address, when it is one of IPv4 or IPv6.
fn read_address(message: &[u8]) -> Option<(u32, Option<IpAddr>)> {
    let index = u32_at(message, 4)?;
    let rest = message.get(ADDRESS_BODY..)?;
    // On a point-to-point link, the other attribute is the far end.
    let value = attribute(rest, IFA_LOCAL).or_else(|| attribute(rest, IFA_ADDRESS))?;
    let address = match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    };
    Some((index, address))
}

/// The bridges that carry pods: a port leads to one, or the bridge has an address of the blocks
/// that the pods of this node get theirs from, so that pods will come.
pub(super) fn pod_bridges<'a>(links: &'a [Link], pod_blocks: &'a [IpNet]) -> impl Iterator<Item = &'a Link> {
    links.iter().filter(move |bridge| {
        bridge.kind == "bridge"
            && (links.iter().any(|port| port.master == Some(bridge.index) && port.leads_to_pod())
                || bridge.addresses.iter().any(|a| pod_blocks.iter().any(|block| block.contains(a))))
    })
}

/// The switches of Open vSwitch that pods hang on.
pub(super) fn pod_switches(links: &[Link]) -> impl Iterator<Item = &Link> {
    links.iter().filter(|switch| {
        switch.kind == "openvswitch"
            && links.iter().any(|port| port.master == Some(switch.index) && port.leads_to_pod())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str, master: Option<u32>) -> Link {
        Link { index, name: name.to_owned(), kind: kind.to_owned(), master, ..Link::default() }
    }

    fn names<'a>(links: impl Iterator<Item = &'a Link>) -> Vec<&'a str> {
        links.map(|link| link.name.as_str()).collect()
    }

    #[test]
    fn a_bridge_with_ports_to_pods_or_an_address_of_theirs_carries_pods() {
        let mut links = vec![
            link(1, "lo", "", None),
            link(2, "eth0", "", Some(3)),
            link(3, "uplink", "bridge", None),
            link(4, "cni0", "bridge", None),
            link(5, "veth1", "veth", Some(4)),
            link(6, "vms", "bridge", None),
            link(7, "tap0", "tun", Some(6)),
            link(8, "empty", "bridge", None),
            link(9, "veth2", "veth", None),
            link(10, "ovs-system", "openvswitch", None),
            link(11, "veth3", "veth", Some(10)),
        ];
        let blocks = ["10.1.0.0/24".parse().unwrap()];
        assert_eq!(names(pod_bridges(&links, &blocks)), ["cni0", "vms"]);
        links[7].addresses = vec!["10.1.0.1".parse().unwrap()];
        assert_eq!(names(pod_bridges(&links, &blocks)), ["cni0", "vms", "empty"]);
        assert_eq!(names(pod_bridges(&links, &[])), ["cni0", "vms"]);
        assert_eq!(names(pod_switches(&links)), ["ovs-system"]);
        links.pop();
        assert_eq!(names(pod_switches(&links)), Vec::<&str>::new());
    }

    #[test]
    fn messages_that_are_too_short_are_seen() {
        assert_eq!(read_link(&[0; 7]), None);
        assert_eq!(read_address(&[0; 8]), None);
    }

    #[test]
    fn the_loopback_interface_is_there() {
        assert!(list().unwrap().iter().any(|link| link.name == "lo"));
    }
}
