//! The lines of `ip` that join namespaces.

use super::layout::of_family;
use netsim_shared::net::Family;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The interface of a namespace towards what it is attached to.
pub(super) const UP: &str = "eth0";
/// The bridge of a node whose pods are bridged.
pub(super) const BRIDGE: &str = "cni0";

/// The next hops on routed links to pods. Nodes have them, so that the underlay needs others: a node
/// would not answer an ARP request that comes from an address of its own.
pub(super) const POD_GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];
/// The next hops on links to the underlay.
pub(super) const UNDERLAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 2, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2))];

/// An address as the host block that `ip` wants.
pub(super) fn host(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// A pod that comes with an address of one that went has its hardware address too, as with the
/// bridge plugin of CNI: neighbours that remember it are not wrong.
fn hardware(addresses: &[IpAddr]) -> String {
    let [a, b, c, d] = match addresses.first() {
        Some(IpAddr::V4(v4)) => v4.octets(),
        Some(IpAddr::V6(v6)) => [v6.octets()[7], v6.octets()[13], v6.octets()[14], v6.octets()[15]],
        None => [0; 4],
    };
    let kind = if addresses.first().is_some_and(IpAddr::is_ipv4) { 0x58 } else { 0x59 };
    format!("0a:{kind:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// In the parent: a veth whose other end is `eth0` of the child.
fn veth(lines: &mut String, device: &str, child: &Path, addresses: &[IpAddr]) {
    let (child, mac) = (child.display(), hardware(addresses));
    _ = writeln!(lines, "link add {device} type veth peer name {UP} address {mac} netns {child}");
}

/// In the parent: a child behind a link of its own, with a route to each of its addresses. `sources`
/// are the parent's addresses when it opens a connection itself.
pub(super) fn link(device: &str, child: &Path, addresses: &[IpAddr], gateway: &[IpAddr], sources: &[IpAddr]) -> String {
    let mut lines = String::new();
    veth(&mut lines, device, child, addresses);
    for gateway in gateway {
        let (prefix, more) = if gateway.is_ipv4() { (32, "scope link") } else { (64, "nodad") };
        _ = writeln!(lines, "addr add {gateway}/{prefix} dev {device} {more}");
    }
    _ = writeln!(lines, "link set {device} up");
    for address in addresses {
        lines.push_str(&route(*address, device, sources));
    }
    lines
}

/// In the parent: a child as a port of its bridge.
pub(super) fn port(device: &str, child: &Path, addresses: &[IpAddr], sources: &[IpAddr]) -> String {
    let mut lines = String::new();
    veth(&mut lines, device, child, addresses);
    _ = writeln!(lines, "link set {device} master {BRIDGE} up");
    for address in addresses {
        lines.push_str(&route(*address, BRIDGE, sources));
    }
    lines
}

/// In a node: its bridge.
pub(super) fn bridge(gateway: &[IpAddr]) -> String {
    let mac = hardware(gateway);
    let mut lines = format!("link add {BRIDGE} address {mac} type bridge forward_delay 0 mcast_snooping 0\n");
    _ = writeln!(lines, "link set {BRIDGE} up");
    for address in gateway {
        let more = if address.is_ipv4() { "" } else { "nodad" };
        _ = writeln!(lines, "addr add {} dev {BRIDGE} {more}", host(*address));
    }
    lines
}

/// A route to one address behind a device.
pub(super) fn route(address: IpAddr, device: &str, sources: &[IpAddr]) -> String {
    let source = of_family(sources, Family::of(address)).map(|s| format!(" src {s}")).unwrap_or_default();
    format!("route add {} dev {device}{source}\n", host(address))
}

/// A route to one address by way of another.
pub(super) fn route_via(address: IpAddr, via: IpAddr) -> String {
    format!("route add {} via {via}\n", host(address))
}

/// No route to an address any more.
pub(super) fn unroute(address: IpAddr) -> String {
    format!("route del {}\n", host(address))
}

/// In the child: addresses, and everything else by way of the gateway.
pub(super) fn child(addresses: &[IpAddr], gateway: &[IpAddr]) -> String {
    let mut lines = format!("link set lo up\nlink set {UP} up\n");
    for address in addresses {
        lines.push_str(&own(*address));
    }
    for gateway in gateway {
        let Some(source) = of_family(addresses, Family::of(*gateway)) else { continue };
        _ = writeln!(lines, "route add default via {gateway} dev {UP} onlink src {source}");
    }
    lines
}

/// In the child: one more address.
pub(super) fn own(address: IpAddr) -> String {
    let more = if address.is_ipv4() { "" } else { "nodad" };
    format!("addr add {} dev {UP} {more}\n", host(address))
}
