//! What can go wrong between us and the kernel.

use rustix::io::Errno;
use std::fmt;
use std::path::PathBuf;

/// A request to the kernel that got no useful answer. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A netlink socket could not be had.
    Socket(Errno),
    /// A network namespace could not be entered.
    Namespace {
        /// What was to be entered.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// A request could not be sent, or its answer not received.
    Talk {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// The kernel refused a request.
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// The kernel did not answer in time, or not to what was asked.
    NoAnswer {
        /// What was asked for.
        what: &'static str,
    },
    /// Others changed their tables whenever ours was read.
    Unsteady,
    /// A name that netlink cannot carry.
    Name(String),
    /// The netlink thread is gone.
    ThreadEnded,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let privilege = |errno: &Errno| match *errno {
            Errno::PERM | Errno::ACCESS => "; this needs CAP_NET_ADMIN in the network namespace",
            _ => "",
        };
        match self {
            Error::Socket(errno) => write!(f, "a netlink socket cannot be opened: {errno}{}", privilege(errno)),
            Error::Namespace { path, errno } => {
                write!(f, "the network namespace `{}` cannot be entered: {errno}", path.display())?;
                let help = "; this needs CAP_SYS_ADMIN in the node's namespaces";
                f.write_str(if *errno == Errno::PERM { help } else { "" })
            }
            Error::Talk { what, errno } => {
                write!(f, "asking the kernel for {what} failed: {errno}")?;
                let help = "; it is longer than the socket may send: give CAP_NET_ADMIN or raise net.core.wmem_max";
                f.write_str(if *errno == Errno::MSGSIZE { help } else { "" })
            }
            Error::Refused { what, errno } => {
                write!(f, "the kernel refused to give {what}: {errno}{}", privilege(errno))
            }
            Error::NoAnswer { what } => write!(f, "the kernel gave no answer when asked for {what}"),
            Error::Unsteady => f.write_str("the ruleset of the node changed whenever it was read; try again"),
            Error::Name(name) => {
                write!(f, "`{name}` cannot be a name in nftables: it has to have 1 to 255 bytes and no NUL")
            }
            Error::ThreadEnded => f.write_str("the netlink thread has ended"),
        }
    }
}

impl std::error::Error for Error {}

/// A transaction that did not come to pass, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// The transaction makes no sense to nftables. It was not sent.
    Invalid {
        /// The object that it is about.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It could not be sent. Nothing was changed.
    NotSent(Error),
    /// The kernel refused it. Nothing was changed.
    Refused {
        /// The first object that was refused.
        object: String,
        /// Why.
        errno: Errno,
        /// What the kernel had to say besides, if anything.
        detail: Option<String>,
        /// How many objects more were refused.
        more: usize,
    },
    /// The table belongs to another process. Nothing was changed.
    Owned {
        /// The table.
        table: String,
        /// The netlink port of its owner: most often the process id.
        port: u32,
    },
    /// It was sent, but whether it came to pass is not known: the table has to be read back.
    Unknown(Error),
}

impl CommitError {
    /// Whether the table is surely as it was.
    pub fn nothing_changed(&self) -> bool {
        !matches!(self, CommitError::Unknown(_))
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Invalid { object, reason } => write!(f, "{object}: {reason}; nothing was changed"),
            CommitError::NotSent(error) => write!(f, "{error}; nothing was changed"),
            CommitError::Refused { object, errno, detail, more } => {
                write!(f, "{object}: {errno}")?;
                detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))?;
                if *more > 0 {
                    write!(f, ", and {more} more")?;
                }
                f.write_str("; nothing was changed")
            }
            CommitError::Owned { table, port } => write!(
                f,
                "table `{table}` belongs to another process, with netlink port {port} (most often its process id); \
                 nothing was changed, stop that process first"
            ),
            CommitError::Unknown(error) => {
                write!(f, "{error}; whether the change came to pass is not known, the table has to be read back")
            }
        }
    }
}

impl std::error::Error for CommitError {}

/// The netlink thread is gone, and with it the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadEnded;

impl From<ThreadEnded> for Error {
    fn from(_: ThreadEnded) -> Self {
        Error::ThreadEnded
    }
}

impl From<ThreadEnded> for CommitError {
    fn from(_: ThreadEnded) -> Self {
        CommitError::Unknown(Error::ThreadEnded)
    }
}
