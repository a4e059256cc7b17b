//! Sockets of the calling thread's namespace that std has no way to open, none of which block.

use super::sctp;
use netsim_shared::net::Family;
use nix::errno::Errno;
use nix::libc::{self, IPPROTO_ICMP, IPPROTO_ICMPV6, linger, sock_extended_err, sockaddr_in6};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr, Linger, RcvBufForce, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    connect, listen, recvmsg, setsockopt, socket,
};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// What goes over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Echo,
    Sctp,
}

fn open(kind: Kind, address: IpAddr) -> nix::Result<OwnedFd> {
    let family = Family::of(address);
    let (kind, protocol) = match (kind, family) {
        (Kind::Tcp, _) => (SockType::Stream, SockProtocol::Tcp),
        (Kind::Udp, _) => (SockType::Datagram, SockProtocol::Udp),
        (Kind::Echo, Family::V4) => (SockType::Datagram, SockProtocol::Icmp),
        (Kind::Echo, Family::V6) => (SockType::Datagram, SockProtocol::IcmpV6),
        (Kind::Sctp, _) => (SockType::Raw, SockProtocol::Sctp),
    };
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    socket(domain, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, protocol)
}

fn bind_to(socket: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

/// A socket on its way to `to`, which takes note of ICMP errors. A stream is reset when it is
/// closed, so that thousands of them leave nothing behind.
pub(super) fn towards(kind: Kind, source: Option<IpAddr>, to: SocketAddr) -> nix::Result<OwnedFd> {
    let fd = open(kind, to.ip())?;
    match to {
        SocketAddr::V4(_) => setsockopt(&fd, Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&fd, Ipv6RecvErr, &true)?,
    }
    if kind == Kind::Tcp {
        setsockopt(&fd, Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    }
    if let Some(source) = source {
        bind_to(&fd, SocketAddr::new(source, 0))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error),
    }
}

/// A listener with room for a storm of connections.
pub(super) fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = open(Kind::Tcp, address.ip())?;
    setsockopt(&fd, ReuseAddr, &true)?;
    bind_to(&fd, address)?;
    listen(&fd, Backlog::new(4096)?)?;
    Ok(fd.into())
}

/// A datagram socket at an address.
pub(super) fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let fd = open(Kind::Udp, address.ip())?;
    bind_to(&fd, address)?;
    Ok(widened(fd))
}

/// Whatever SCTP comes to an address, or to any address of its family. It has the type of a UDP
/// socket because that sends and receives datagrams; IPv4 packets come in with their IP header.
pub(super) fn raw_sctp(address: IpAddr) -> io::Result<UdpSocket> {
    let fd = open(Kind::Sctp, address)?;
    bind_to(&fd, SocketAddr::new(address, 0))?;
    Ok(widened(fd))
}

/// Room for a burst, as much as the kernel gives.
fn widened(fd: OwnedFd) -> UdpSocket {
    let _ = setsockopt(&fd, RcvBufForce, &(4 << 20));
    fd.into()
}

/// Reads one SCTP packet, with the address that it came from.
pub(super) fn receive_sctp(socket: &UdpSocket) -> io::Result<(Option<sctp::Packet>, IpAddr)> {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer)?;
    let bytes = &buffer[..length];
    let header = if from.is_ipv4() { bytes.first().map_or(0, |b| usize::from(b & 15) * 4) } else { 0 };
    Ok((bytes.get(header..).and_then(sctp::Packet::decode), from.ip()))
}

/// The wildcard address of a family.
pub(super) fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An ICMP error that came back to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IcmpError {
    /// Port unreachable, and who says so.
    Port(IpAddr),
    /// A filter on the way says no.
    Prohibited,
    /// Nobody knows the way.
    Unreachable,
}

/// Takes the next ICMP error from a socket's queue.
pub(super) fn icmp_error(socket: &OwnedFd) -> Option<IcmpError> {
    let mut data = [0; 64];
    let mut iov = [IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!(sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags).ok()?;
    message.cmsgs().ok()?.find_map(|control| {
        let (error, from, protocol) = match control {
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                (error, from.map(|a| Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)).into()), IPPROTO_ICMP)
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                (error, from.map(|a| Ipv6Addr::from(a.sin6_addr.s6_addr).into()), IPPROTO_ICMPV6)
            }
            _ => return None,
        };
        let origin = error.ee_origin;
        Some(match (protocol, error.ee_type, error.ee_code) {
            _ if origin != libc::SO_EE_ORIGIN_ICMP && origin != libc::SO_EE_ORIGIN_ICMP6 => IcmpError::Unreachable,
            (IPPROTO_ICMP, 3, 3) | (IPPROTO_ICMPV6, 1, 4) => IcmpError::Port(from?),
            (IPPROTO_ICMP, 3, 9 | 10 | 13) | (IPPROTO_ICMPV6, 1, 1 | 5 | 6) => IcmpError::Prohibited,
            _ => IcmpError::Unreachable,
        })
    })
}

/// The error that a connection attempt ended with; `None` when it did not.
pub(super) fn connect_error(socket: &OwnedFd) -> Option<io::Error> {
    let stream = TcpStream::from(socket.try_clone().ok()?);
    stream.take_error().ok()?
}

/// Events, waited for at most so long, rounded up: an epoll can only tell milliseconds.
pub(super) fn events<'a>(epoll: &Epoll, room: &'a mut [EpollEvent], wait: Option<Duration>) -> &'a [EpollEvent] {
    let timeout = wait.map_or(EpollTimeout::NONE, |wait| {
        let millis = wait.as_micros().div_ceil(1000);
        EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
    });
    match epoll.wait(room, timeout) {
        Ok(count) => &room[..count],
        Err(Errno::EINTR) => &[],
        Err(error) => panic!("cannot wait for packets: {error}"),
    }
}

/// A wish to hear when there is something to read.
pub(super) fn readable(token: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, token)
}
