//! Asks DNS servers for the addresses of names, through hickory. The one module of this crate that does I/O.
//!
//! Each question is asked as it stands: no search domains, no hosts file, no cache, A and AAAA apart. Over UDP first,
//! with the letters of the name in random case against forged answers; over TCP when the answer was cut, was forged,
//! or did not come. A server that fails is followed by the next, and the one that answered last is asked first.

use super::answer::{Answer, Failure, ResponseCode};
use super::name::DomainName;
use super::wire;
use crate::net::Family;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::FirstAnswer;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait for an answer by default, once over UDP and once over TCP.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverError {
    /// No server is given.
    NoServers,
    /// The servers of the system cannot be read: why.
    System(String),
    /// hickory cannot be set up: why.
    Setup(String),
}

impl fmt::Display for ResolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolverError::NoServers => f.write_str("there is no DNS server to ask"),
            ResolverError::System(why) => write!(f, "the DNS servers of the system cannot be read: {why}"),
            ResolverError::Setup(why) => write!(f, "DNS cannot be asked: {why}"),
        }
    }
}

impl std::error::Error for ResolverError {}

type Pool = NameServerPool<TokioRuntimeProvider>;

/// One server, by two ways.
struct Server {
    address: SocketAddr,
    /// UDP, and TCP where an answer was cut or forged.
    both: Pool,
    tcp: Pool,
}

/// Asks servers. To be used inside of a Tokio runtime with I/O and time.
pub struct Resolver {
    servers: Vec<Server>,
    /// The server to ask first.
    first: AtomicUsize,
}

impl Resolver {
    /// A resolver that asks these servers, in their order.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, ResolverError> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 0;
        options.cache_size = 0;
        options.case_randomization = true;
        options.num_concurrent_reqs = 1;
        let setup = |error: NetError| ResolverError::Setup(error.to_string());
        let context = Arc::new(PoolContext::new(options, TlsConfig::new().map_err(setup)?));
        let pool = |address: SocketAddr, connections: Vec<ConnectionConfig>| {
            let connections = connections
                .into_iter()
                .map(|mut connection| {
                    connection.port = address.port();
                    connection
                })
                .collect();
            let mut config = NameServerConfig::udp(address.ip());
            config.connections = connections;
            NameServerPool::from_config([config], Arc::clone(&context), TokioRuntimeProvider::default())
        };
        let servers: Vec<Server> = servers
            .iter()
            .map(|address| Server {
                address: *address,
                both: pool(*address, vec![ConnectionConfig::udp(), ConnectionConfig::tcp()]),
                tcp: pool(*address, vec![ConnectionConfig::tcp()]),
            })
            .collect();
        if servers.is_empty() {
            return Err(ResolverError::NoServers);
        }
        Ok(Resolver { servers, first: AtomicUsize::new(0) })
    }

    /// A resolver that asks the servers of the system (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// When they cannot be read, or there are none.
    pub fn of_system(timeout: Duration) -> Result<Self, ResolverError> {
        let (config, _) = read_system_conf().map_err(|error| ResolverError::System(error.to_string()))?;
        let port = |server: &NameServerConfig| server.connections.first().map_or(53, |connection| connection.port);
        let servers: Vec<SocketAddr> =
            config.name_servers.iter().map(|server| SocketAddr::new(server.ip, port(server))).collect();
        Resolver::new(&servers, timeout)
    }

    /// The servers, in the order in which they were given.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.address)
    }

    /// Asks for the addresses of a name in a family. What the answer comes to is said by [`Answer::read`].
    ///
    /// # Errors
    /// When no server answered. A server that answered with a failure is an answer, if none did better.
    pub async fn ask(&self, name: &DomainName, family: Family) -> Result<Answer, Failure> {
        let first = self.first.load(Ordering::Relaxed);
        let mut best = Err(Failure::Timeout);
        for turn in 0..self.servers.len() {
            let index = (first + turn) % self.servers.len();
            let Some(server) = self.servers.get(index) else { continue };
            let answered = server.ask(name, family).await;
            match &answered {
                Ok(answer) if matches!(answer.code, ResponseCode::NoError | ResponseCode::NoSuchName) => {
                    self.first.store(index, Ordering::Relaxed);
                    return answered;
                }
                // What a server says tells more than a silence.
                Ok(_) => best = answered,
                Err(failure) if best.is_err() && *failure != Failure::Timeout => best = answered,
                Err(_) => {}
            }
        }
        best
    }
}

impl Server {
    async fn ask(&self, name: &DomainName, family: Family) -> Result<Answer, Failure> {
        match exchange(&self.both, name, family).await {
            Err(_) => exchange(&self.tcp, name, family).await,
            answered => answered,
        }
    }
}

/// Sends one question and takes the answer apart.
async fn exchange(pool: &Pool, name: &DomainName, family: Family) -> Result<Answer, Failure> {
    let unreachable = |why: String| Failure::Unreachable(why);
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    // Absolute: with the final dot there is no search domain to try.
    let mut asked = Name::from_ascii(name.as_str()).map_err(|e| unreachable(e.to_string()))?;
    asked.set_fqdn(true);
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.recursion_desired = true;
    let nothing =
        |code, negative_ttl| Answer { question: name.clone(), family, code, records: Vec::new(), negative_ttl };
    match pool.lookup(Query::query(asked, kind), options).first_answer().await {
        Ok(response) => {
            let answer = wire::to_answer(&response).map_err(|e| unreachable(e.to_string()))?;
            if (&answer.question, answer.family) != (name, family) {
                return Err(unreachable(format!("the answer is about `{}`, which was not asked", answer.question)));
            }
            Ok(answer)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Ok(nothing(wire::to_code(none.response_code), ttl))
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Ok(nothing(wire::to_code(code), None)),
        Err(NetError::Timeout) => Err(Failure::Timeout),
        Err(error) => Err(unreachable(error.to_string())),
    }
}
