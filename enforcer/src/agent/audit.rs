//! Audit mode: what would be denied comes from the kernel's log, and is told with names.

use super::State;
use crate::kernel::Kernel;
use crate::kernel::nflog::{Event, Logged};
use netsim_shared::policy::Direction;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// How many logged packets may wait; further ones are only counted by the kernel.
const WAITING: usize = 1024;

/// Logged packets, as they come.
pub type Log = mpsc::Receiver<Logged>;

/// Listens to a log group on a thread of its own. `None` when that cannot be done: then the audit
/// only counts, and says so.
pub async fn listen(kernel: &Kernel, group: u16) -> Option<Log> {
    let mut reader = match kernel.log_reader(group).await {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(group, "audit: what would be denied is counted but not logged: {error}");
            return None;
        }
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let read = move || {
        loop {
            match reader.wait() {
                Ok(Some(Event::Packet(logged))) => match sender.try_send(logged) {
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                },
                Ok(Some(Event::Garbled)) => tracing::debug!("audit: a logged packet could not be read"),
                Ok(Some(Event::Lost)) => tracing::warn!("audit: the kernel logged more than could be read"),
                Ok(None) if sender.is_closed() => return,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("audit: reading the kernel's log failed: {error}");
                    return;
                }
            }
        }
    };
    match std::thread::Builder::new().name("nflog".to_owned()).spawn(read) {
        Ok(_) => Some(receiver),
        Err(error) => {
            tracing::error!("audit: what would be denied is counted but not logged: {error}");
            None
        }
    }
}

/// The next logged packet; never, when nothing is listened to.
pub async fn next(log: &mut Option<Log>) -> Logged {
    if let Some(receiver) = log
        && let Some(logged) = receiver.recv().await
    {
        return logged;
    }
    std::future::pending().await
}

/// Logs what would have been denied, with the names of the pods and of the policies that isolate.
pub fn tell(state: &State, node: &str, logged: &Logged) {
    let Some(compiled) = state.compiled() else { return };
    let name = |address: IpAddr| -> String {
        let entry = compiled.at_address(address).and_then(|id| compiled.entry(id));
        entry.map(|entry| entry.endpoint.key.to_string()).unwrap_or_default()
    };
    let direction = Direction::ALL.into_iter().find(|direction| logged.prefix == direction.field());
    let (source, destination) = (name(logged.source), name(logged.destination));
    let isolated_by = direction.map(|direction| {
        let subject = if direction == Direction::Ingress { logged.destination } else { logged.source };
        let entry = compiled.at_address(subject).and_then(|id| compiled.entry(id));
        let group = entry.map_or(0, |entry| if direction == Direction::Ingress { entry.ingress } else { entry.egress });
        let side = compiled.side(direction);
        let names = side.policies_of(group).map(|slot| format!("{}/{}", slot.policy.namespace, slot.policy.name));
        names.collect::<Vec<_>>().join(",")
    });
    tracing::warn!(
        node,
        direction = direction.map_or("", Direction::field),
        source = %logged.source,
        source_pod = source,
        destination = %logged.destination,
        destination_pod = destination,
        protocol = logged.protocol,
        port = logged.ports.map(|(_, port)| port),
        isolated_by = isolated_by.unwrap_or_default(),
        "audit: would be denied"
    );
}
