//! The facts that decide whether our rules are enforced, gathered from the kernel.

use super::foreign::{self, Foreign};
use super::links::{self, Link};
use super::sysctl::{Sysctls, THREAD_NET, dotted, read_optional};
use std::fmt;
use std::io;
use std::path::Path;

pub(super) const CALL_IPTABLES: &str = "net/bridge/bridge-nf-call-iptables";
pub(super) const CALL_IP6TABLES: &str = "net/bridge/bridge-nf-call-ip6tables";
pub(super) const FILTER_TAGGED: &str = "net/bridge/bridge-nf-filter-vlan-tagged";
pub(super) const IPVS_CONNTRACK: &str = "net/ipv4/vs/conntrack";
const CONNTRACK: &str = "net/netfilter/nf_conntrack";
const FORWARD_V4: &str = "net/ipv4/ip_forward";
const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";
const CONF_V4: &str = "net/ipv4/conf";

/// What bridges show to netfilter: the settings for all bridges of the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeFilter {
    /// IPv4 packets.
    pub ipv4: bool,
    /// IPv6 packets.
    pub ipv6: bool,
    /// Either of them also when the frame has a VLAN tag.
    pub tagged: bool,
}

/// The state of connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// How many connections are in the table, and how many may be.
    pub usage: Option<(u64, u64)>,
    /// Whether SCTP is tracked.
    pub sctp: bool,
    /// Whether a connection may be picked up in its middle; the kernel's default is that it may.
    pub tcp_loose: Option<bool>,
    /// Whether segments outside of the window belong to the connection; by default they do not.
    pub tcp_liberal: Option<bool>,
}

/// The state of IPVS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipvs {
    /// How many virtual services there are.
    pub services: usize,
    /// Whether its connections are tracked.
    pub conntrack: bool,
}

/// Something that a check needs and that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What it is.
    pub what: Subject,
    /// Why it could not be read.
    pub error: String,
}

/// What can be unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The network interfaces.
    Links,
    /// The settings of `br_netfilter`.
    BridgeFilter,
    /// The rules of others.
    Foreign,
    /// IPVS.
    Ipvs,
    /// Connection tracking.
    Conntrack,
    /// Whether the node forwards.
    Forwarding,
    /// Which sources are let in.
    AcceptLocal,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Links => "the network interfaces",
            Subject::BridgeFilter => "the settings of `br_netfilter`",
            Subject::Foreign => "the netfilter rules of others",
            Subject::Ipvs => "the services of IPVS",
            Subject::Conntrack => "the state of connection tracking",
            Subject::Forwarding => "whether the node forwards packets",
            Subject::AcceptLocal => "the `accept_local` settings",
        })
    }
}

/// All facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The network interfaces.
    pub links: Vec<Link>,
    /// What bridges show to netfilter; `None` where `br_netfilter` is not loaded.
    pub bridge_filter: Option<BridgeFilter>,
    /// IPVS; `None` where it is not loaded.
    pub ipvs: Option<Ipvs>,
    /// Connection tracking; `None` where it is not loaded.
    pub conntrack: Option<Conntrack>,
    /// Whether IPv4 and IPv6 packets are forwarded; `None` where the kernel does not have the family.
    pub forwarding: (Option<bool>, Option<bool>),
    /// The interfaces that let in packets with a source address of the node.
    pub accept_local: Vec<String>,
    /// What others have in netfilter.
    pub foreign: Foreign,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// Gathers what can change from one moment to the next and is cheap to read: links, bridges, IPVS
/// and connection tracking.
pub(super) fn gather_quick(sysctls: &Sysctls) -> Facts {
    let mut facts = Facts::default();
    let mut unread = Vec::new();
    let mut note = |what, error: String| unread.push(Unread { what, error });

    match links::list() {
        Ok(links) => facts.links = links,
        Err(error) => note(Subject::Links, error.to_string()),
    }
    match bridge_filter(sysctls) {
        Ok(filter) => facts.bridge_filter = filter,
        Err(error) => note(Subject::BridgeFilter, error.to_string()),
    }
    match ipvs(sysctls) {
        Ok(ipvs) => facts.ipvs = ipvs,
        Err(error) => note(Subject::Ipvs, error.to_string()),
    }
    match conntrack(sysctls) {
        Ok(conntrack) => facts.conntrack = conntrack,
        Err(error) => note(Subject::Conntrack, error.to_string()),
    }
    facts.unread = unread;
    facts
}

/// Gathers the rest as well: what others have in netfilter can take a program to list.
pub(super) fn gather(sysctls: &Sysctls, own_table: &str) -> Facts {
    let mut facts = gather_quick(sysctls);
    match foreign::list(own_table) {
        Ok(foreign) => facts.foreign = foreign,
        Err(error) => facts.unread.push(Unread { what: Subject::Foreign, error: error.to_string() }),
    }
    match forwarding(sysctls) {
        Ok(forwarding) => facts.forwarding = forwarding,
        Err(error) => facts.unread.push(Unread { what: Subject::Forwarding, error: error.to_string() }),
    }
    match accept_local(sysctls) {
        Ok(interfaces) => facts.accept_local = interfaces,
        Err(error) => facts.unread.push(Unread { what: Subject::AcceptLocal, error: error.to_string() }),
    }
    facts
}

/// Reads a setting; an error names it.
fn read(sysctls: &Sysctls, path: &str) -> io::Result<Option<u64>> {
    sysctls.read(path).map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", dotted(path))))
}

pub(super) fn bridge_filter(sysctls: &Sysctls) -> io::Result<Option<BridgeFilter>> {
    let on = |path| Ok::<_, io::Error>(read(sysctls, path)?.map(|value| value != 0));
    let Some(ipv4) = on(CALL_IPTABLES)? else { return Ok(None) };
    Ok(Some(BridgeFilter {
        ipv4,
        // A kernel without IPv6 lacks it, and has no such packets.
        ipv6: on(CALL_IP6TABLES)?.unwrap_or(true),
        tagged: on(FILTER_TAGGED)?.unwrap_or(false),
    }))
}

fn ipvs(sysctls: &Sysctls) -> io::Result<Option<Ipvs>> {
    let path = Path::new(THREAD_NET).join("ip_vs");
    let Some(table) = read_optional(&path)? else { return Ok(None) };
    let conntrack = read(sysctls, IPVS_CONNTRACK)?.is_some_and(|value| value != 0);
    Ok(Some(Ipvs { services: ipvs_services(&table), conntrack }))
}

/// The lines of services begin with their protocol, those of their servers with an arrow.
fn ipvs_services(table: &str) -> usize {
    table.lines().filter(|line| ["TCP ", "UDP ", "SCTP ", "FWM "].iter().any(|kind| line.starts_with(kind))).count()
}

fn conntrack(sysctls: &Sysctls) -> io::Result<Option<Conntrack>> {
    let get = |name: &str| read(sysctls, &format!("{CONNTRACK}_{name}"));
    let (count, max) = (get("count")?, get("max")?);
    if count.is_none() && max.is_none() {
        return Ok(None);
    }
    Ok(Some(Conntrack {
        usage: count.zip(max),
        sctp: get("sctp_timeout_established")?.is_some(),
        tcp_loose: get("tcp_loose")?.map(|value| value != 0),
        tcp_liberal: get("tcp_be_liberal")?.map(|value| value != 0),
    }))
}

fn forwarding(sysctls: &Sysctls) -> io::Result<(Option<bool>, Option<bool>)> {
    let on = |path| Ok::<_, io::Error>(read(sysctls, path)?.map(|value| value != 0));
    Ok((on(FORWARD_V4)?, on(FORWARD_V6)?))
}

fn accept_local(sysctls: &Sysctls) -> io::Result<Vec<String>> {
    let mut interfaces = sysctls.children(CONF_V4)?;
    // What is in `default` concerns interfaces that come, and they are looked at when they are there.
    interfaces.retain(|name| name != "default");
    let mut accepting = Vec::new();
    for name in interfaces {
        // An interface that went away in between accepts nothing.
        if read(sysctls, &format!("{CONF_V4}/{name}/accept_local"))?.is_some_and(|value| value != 0) {
            accepting.push(name);
        }
    }
    Ok(accepting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_ipvs_are_counted_and_servers_are_not() {
        let table = "IP Virtual Server version 1.2.1 (size=4096)\n\
                     Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight\n\
                     TCP  0A600001:01BB rr\n  -> 0A000005:1F90      Masq    1      0          0\n\
                     UDP  0A60000A:0035 rr\nFWM  00000001 wlc\n";
        assert_eq!(ipvs_services(table), 3);
        assert_eq!(ipvs_services(""), 0);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = std::env::temp_dir().join(format!("netsim-facts-{}", std::process::id()));
        let settings = directory.join("net/netfilter");
        std::fs::create_dir_all(&settings).unwrap();
        std::fs::write(settings.join("nf_conntrack_count"), "many\n").unwrap();
        let facts = gather_quick(&Sysctls::new(&directory));
        let _ = std::fs::remove_dir_all(&directory);
        assert_eq!(facts.bridge_filter, None);
        assert_eq!(facts.conntrack, None);
        let [unread] = &facts.unread[..] else { panic!("{:?}", facts.unread) };
        assert_eq!(unread.what, Subject::Conntrack);
        assert_eq!(unread.error, "`net.netfilter.nf_conntrack_count`: `many` is not a number");
    }
}
