//! A netfilter netlink socket.
//!
//! nfnetlink works a request off while it is being sent: when `send` returns, all answers that do
//! not depend on reading (everything but the later parts of a dump) lie in the receive queue.

#![allow(unsafe_code, reason = "mnl gives out its file descriptor and options only as raw values")]

use super::error::Error;
use super::message::Messages;
use super::uapi::{NETLINK_CAP_ACK, NETLINK_EXT_ACK};
use mnl::mnl_sys;
use rustix::io::{Errno, FdFlags, retry_on_intr};
use rustix::net::{RecvFlags, sockopt};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::{AsyncFd, AsyncFdReadyMutGuard};

/// How long an answer may take. Answers are there at once; this only keeps us from hanging.
const PATIENCE: Duration = Duration::from_secs(10);
/// The receive queue: room for an error about each of some thousand objects.
const QUEUE: usize = 8 << 20;
/// No datagram of the kernel is longer: parts of dumps have at most 32 KiB, and errors do not
/// repeat the request.
const DATAGRAM: usize = 128 << 10;

/// An open socket.
pub struct Socket {
    socket: mnl::Socket,
    seq: u32,
    buffer: Box<Buffer>,
}

/// Aligned as messages have to be.
#[repr(C, align(8))]
struct Buffer([u8; DATAGRAM]);

// SAFETY: `mnl::Socket` is not `Send` only because it holds a pointer to what libmnl allocated: a
// file descriptor and an address, with no tie to the thread that made them. We own it alone, and
// it is used through `&mut` or for its descriptor only.
unsafe impl Send for Socket {}

impl Socket {
    /// Opens one in the network namespace of the calling thread.
    pub fn open() -> Result<Socket, Error> {
        let errno = |error: std::io::Error| Error::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let socket = mnl::Socket::new(mnl::Bus::Netfilter).map_err(errno)?;
        // libmnl does not ask for it, and a child that inherited the socket would keep our table owned.
        // SAFETY: as in `as_fd`.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(Error::Socket)?;
        // Errors say which attribute of a message they are about, and do not repeat the message.
        // A kernel without that (before 4.12) still names the message.
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            let mut on: i32 = 1;
            // SAFETY: the socket is open, and the option is an `int` that is read during the call.
            unsafe {
                mnl_sys::mnl_socket_setsockopt(
                    socket.as_raw_socket(),
                    option,
                    (&raw mut on).cast(),
                    size_of::<i32>() as u32,
                )
            };
        }
        let socket = Socket { socket, seq: 0, buffer: Box::new(Buffer([0; DATAGRAM])) };
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).map_err(Error::Socket)?;
        // With a short queue the outcome of a refused batch may be told incompletely, no worse.
        if sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, QUEUE).map_err(Error::Socket)?;
        }
        Ok(socket)
    }

    /// The address of this socket, by which the kernel knows the owner of a table.
    pub fn port(&self) -> u32 {
        self.socket.portid()
    }

    /// The first of so many numbers for messages, not used recently.
    pub fn numbers(&mut self, count: u32) -> u32 {
        // 0 is what the kernel uses when it speaks unasked.
        let first = if self.seq.checked_add(count).is_none() { 1 } else { self.seq.max(1) };
        self.seq = first.saturating_add(count);
        first
    }

    /// Sends messages in one datagram, whatever their length.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        // The kernel refuses what is longer than half of the send buffer; it allocates when a
        // datagram comes, not before.
        let room = bytes.len() + 4096;
        if sockopt::socket_send_buffer_size(self)? < room
            && sockopt::set_socket_send_buffer_size_force(self, room).is_err()
        {
            sockopt::set_socket_send_buffer_size(self, room)?;
        }
        let sent = retry_on_intr(|| {
            self.socket.send(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    /// The next datagram; waits for it, but not for ever (`Errno::AGAIN`).
    pub fn receive(&mut self) -> Result<Messages<'_>, Errno> {
        self.receive_with(RecvFlags::empty())
    }

    /// The next datagram if there is one; `Errno::AGAIN` if not.
    pub fn receive_now(&mut self) -> Result<Messages<'_>, Errno> {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    /// What tells asynchronous code when there is something to be received. To be called within a
    /// runtime, which panics otherwise.
    pub fn readiness(&self) -> Result<Readiness, Error> {
        let duplicate = rustix::io::fcntl_dupfd_cloexec(self, 0).map_err(Error::Socket)?;
        // SAFETY: the descriptor is owned, so it is open and the same until it is dropped.
        let registered = unsafe { AsyncFd::register(duplicate) };
        let errno = |error: std::io::Error| Error::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        registered.map(Readiness).map_err(|error| errno(error.into()))
    }

    fn receive_with(&mut self, flags: RecvFlags) -> Result<Messages<'_>, Errno> {
        // SAFETY: as in `as_fd`, which cannot be used here because the buffer is borrowed, too.
        let fd = unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        let buffer = &mut self.buffer.0;
        let (_, length) = retry_on_intr(|| rustix::net::recv(fd, &mut buffer[..], flags | RecvFlags::TRUNC))?;
        // What was cut off is lost, as it is when the queue was full.
        self.buffer.0.get(..length).map(Messages).ok_or(Errno::NOBUFS)
    }
}

/// Whether there is something to be received from a socket.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Waits until there may be something. Whoever then finds nothing clears that.
    pub async fn readable(&mut self) -> Result<AsyncFdReadyMutGuard<'_, OwnedFd>, Error> {
        let ready = self.0.readable_mut().await;
        ready.map_err(|error| Error::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.socket` lives, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("port", &self.port()).finish_non_exhaustive()
    }
}
