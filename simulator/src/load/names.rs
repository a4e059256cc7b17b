//! What names outside stand for: as a file says, as DNS answers, or as is supposed.
//!
//! DNS is asked only where `--resolve` says so, and each name once, however many clusters are read.

use super::LoadError;
use crate::args::NameArgs;
use ipnet::IpNet;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::compile::Modes;
use netsim_shared::diagnostic::{Diagnostic, Place};
use netsim_shared::dns::answer::Outcome;
use netsim_shared::dns::map_file::{self, MapFile};
use netsim_shared::dns::refuse::{Reason, private_ranges};
use netsim_shared::dns::resolver::{Resolver, ResolverError, TIMEOUT};
use netsim_shared::dns::{DomainName, NameMap};
use netsim_shared::names::{exact_names, refusals};
use netsim_shared::net::{Family, read_cidr};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;

/// The port that DNS servers are asked on, unless another is given.
const DNS_PORT: u16 = 53;
/// This many names are asked for at a time.
const AT_A_TIME: usize = 16;

/// What is known of names, and how to know more.
#[derive(Debug, Default)]
pub struct Names {
    /// What a file says.
    given: Option<MapFile>,
    opted_in: Vec<IpNet>,
    /// Whom to ask: these servers, or with none those of the system. `None`: nobody.
    servers: Option<Vec<SocketAddr>>,
    /// A name that is asked about.
    asked: Option<DomainName>,
    /// What it is supposed to stand for.
    supposed: Vec<IpAddr>,
    answers: RefCell<BTreeMap<DomainName, Answered>>,
}

/// What DNS said of a name: its addresses, or why that is not known.
type Answered = Result<Vec<IpAddr>, String>;

/// What names stand for in a cluster.
#[derive(Debug, Default)]
pub struct Known {
    /// For the compiler.
    pub map: NameMap,
    /// What DNS answered, to be said with answers.
    pub resolved: Vec<(DomainName, String)>,
}

impl Names {
    /// Reads what the options name. Nothing is asked yet.
    ///
    /// # Errors
    /// When the file, an address or a range cannot be read.
    pub fn read(args: &NameArgs) -> Result<Self, LoadError> {
        let mut wrong = Vec::new();
        let mut opted_in = Vec::new();
        for text in &args.dns_allow_private {
            match read_cidr(text) {
                Ok(read) => opted_in.push(read.net),
                Err(message) => wrong.push(Diagnostic::error(format!("--dns-allow-private: {message}"))),
            }
        }
        let mut servers = Vec::new();
        for text in &args.dns_servers {
            let alone = text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
            match text.parse::<SocketAddr>().or(alone) {
                Ok(server) => servers.push(server),
                Err(_) => wrong.push(
                    Diagnostic::error(format!("--dns-server: `{text}` is no address"))
                        .help("write 10.96.0.10, 10.96.0.10:5353 or [fd00::a]:53"),
                ),
            }
        }
        if !args.resolve && !args.dns_servers.is_empty() {
            wrong.push(Diagnostic::error("--dns-server is given, and nothing is asked").help("add --resolve"));
        }
        let given = match &args.dns_map {
            None => None,
            Some(path) => {
                let read = super::text_of(path).map_err(|LoadError(wrong)| wrong);
                match read.and_then(|(name, text)| map_file::read(&name, &text)) {
                    Ok(map) => Some(map),
                    Err(diagnostics) => {
                        wrong.extend(diagnostics);
                        None
                    }
                }
            }
        };
        if !wrong.is_empty() {
            return Err(LoadError(wrong));
        }
        Ok(Names { given, opted_in, servers: args.resolve.then_some(servers), ..Names::default() })
    }

    /// The same for a question about a name, which is supposed to stand for some addresses, if any.
    pub fn about(self, name: DomainName, supposed: &[IpAddr]) -> Self {
        Names { asked: Some(name), supposed: supposed.to_vec(), ..self }
    }

    /// What is known in a cluster. Addresses that no name may stand for there go to `warn`.
    ///
    /// # Errors
    /// When DNS is to be asked and there is nobody to ask.
    pub fn of(
        &self,
        index: &ClusterIndex,
        modes: &Modes,
        warn: &mut dyn FnMut(&Diagnostic),
    ) -> Result<Known, LoadError> {
        let refusals = refusals(index, modes, self.opted_in.clone());
        let mut map = NameMap::new(refusals, self.given.is_some());
        let mut add = |name: &DomainName, addresses: &mut dyn Iterator<Item = (IpAddr, Option<&Place>)>| {
            // A name that stands for nothing is known, too.
            map.insert(name.clone(), []);
            for (address, place) in addresses {
                for refused in map.insert(name.clone(), [address]) {
                    let message = format!("the enforcer refuses {address} for {name}: {}", refused.reason);
                    let mut warning = Diagnostic::warning(message);
                    if refused.reason == Reason::Private {
                        let range = private_range(address);
                        warning = warning.help(format!("--dns-allow-private {range} opts it in"));
                    }
                    warning.place = place.cloned();
                    warn(&warning);
                }
            }
        };
        let is_supposed = |name: &DomainName| !self.supposed.is_empty() && self.asked.as_ref() == Some(name);
        for (name, addresses) in self.given.iter().flatten().filter(|(name, _)| !is_supposed(name)) {
            add(name, &mut addresses.iter().map(|(address, place)| (*address, Some(place))));
        }
        if let (Some(name), false) = (&self.asked, self.supposed.is_empty()) {
            add(name, &mut self.supposed.iter().map(|address| (*address, None)));
        }
        let mut resolved = Vec::new();
        if let Some(servers) = &self.servers {
            let names: BTreeSet<DomainName> =
                exact_names(index).into_iter().chain(self.asked.clone()).filter(|name| !is_supposed(name)).collect();
            self.ask(servers, &names)?;
            for (name, answered) in self.answers.borrow().iter().filter(|(name, _)| names.contains(name)) {
                let said = match answered {
                    Ok(addresses) => {
                        add(name, &mut addresses.iter().map(|address| (*address, None)));
                        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                        match all.as_slice() {
                            [] => format!("DNS has no address of {name} now"),
                            _ => format!("DNS says {name} is {} now, which may change", all.join(", ")),
                        }
                    }
                    Err(why) => format!("what {name} stands for is not known: {why}"),
                };
                resolved.push((name.clone(), said));
            }
        }
        Ok(Known { map, resolved })
    }

    /// Asks for names that were not asked for yet.
    fn ask(&self, servers: &[SocketAddr], names: &BTreeSet<DomainName>) -> Result<(), LoadError> {
        let new: Vec<DomainName> =
            names.iter().filter(|name| !self.answers.borrow().contains_key(name)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let no_dns = |error: ResolverError| {
            let error = Diagnostic::error(format!("--resolve: {error}"));
            LoadError(vec![error.help("name one with --dns-server ADDRESS")])
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| LoadError(vec![Diagnostic::error(format!("--resolve: DNS cannot be asked: {error}"))]))?;
        let answers = runtime.block_on(async {
            let resolver = match servers {
                [] => Resolver::of_system(TIMEOUT),
                servers => Resolver::new(servers, TIMEOUT),
            };
            let resolver = resolver.map_err(no_dns)?;
            let resolver = Arc::new(resolver);
            let mut answers = BTreeMap::new();
            for some in new.chunks(AT_A_TIME) {
                let mut asking = JoinSet::new();
                for name in some.iter().cloned() {
                    let resolver = Arc::clone(&resolver);
                    asking.spawn(async move { (addresses_of(&resolver, &name).await, name) });
                }
                answers.extend(asking.join_all().await.into_iter().map(|(answered, name)| (name, answered)));
            }
            Ok(answers)
        });
        runtime.shutdown_background();
        self.answers.borrow_mut().extend(answers?);
        Ok(())
    }
}

/// Both families of a name. What fails in one leaves the name not known.
async fn addresses_of(resolver: &Resolver, name: &DomainName) -> Answered {
    let mut addresses = Vec::new();
    for family in Family::ALL {
        let outcome = match resolver.ask(name, family).await {
            Ok(answer) => answer.read().outcome,
            Err(failure) => Outcome::Failed(failure),
        };
        match outcome {
            Outcome::Addresses(found) => addresses.extend(found.into_iter().map(|found| found.address)),
            Outcome::NoAddress => {}
            Outcome::NoSuchName => return Ok(Vec::new()),
            Outcome::Failed(failure) => return Err(format!("of its {family} addresses {failure}")),
        }
    }
    Ok(addresses)
}

/// The private range that holds an address.
fn private_range(address: IpAddr) -> String {
    let ranges = private_ranges().get(Family::of(address)).iter();
    ranges.clone().find(|range| range.contains(&address)).map(ToString::to_string).unwrap_or_default()
}
