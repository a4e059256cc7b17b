//! The updates of one kind, out of the events of kube's watcher.

use super::backoff::{Backoff, LONGEST, before_list};
use super::opened::Observed;
use super::thin::{Kind, Thin};
use super::{Update, Watched};
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, Stream};
use kube::core::Status;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Error};
use netsim::load::live::chain;
use netsim_shared::cluster::Key;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the server is asked at least whether a kind has come that it does not have.
const ABSENT: Duration = Duration::from_secs(30);
/// How many answers in a row have to say that a kind is gone that was there: more than a server would give that is
/// only starting, or that one of several gives which has not heard of the definition yet.
const GONE_AFTER: usize = 6;

/// The updates of a kind, for ever.
pub fn updates<K: Kind>(client: &Client, config: Config) -> impl Stream<Item = Update> + Send + use<K> {
    let opened = Arc::new(Notify::new());
    let api = Api::all(Observed::client(client, K::METADATA_ONLY, opened.clone()));
    let watching = Watching::<K> {
        events: watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        opened,
        listed: HashSet::new(),
        known: 0,
        failing: false,
        backoff: Backoff::default(),
        presence: Presence::Unknown,
        absences: Backoff::up_to(ABSENT),
        pause: None,
        out: VecDeque::new(),
    };
    futures::stream::unfold(watching, Watching::next)
}

struct Watching<K: Kind> {
    api: Api<Thin<K>>,
    config: Config,
    events: BoxStream<'static, watcher::Result<Event<Thin<K>>>>,
    /// Told when the server takes a watch.
    opened: Arc<Notify>,
    /// What the list that is under way has told so far.
    listed: HashSet<Key>,
    /// How many the last complete list has told of.
    known: usize,
    /// A failure was told, and no recovery yet.
    failing: bool,
    backoff: Backoff,
    /// Of a kind that a cluster may not have.
    presence: Presence,
    /// How long to wait before the server is asked for a kind again that it does not have.
    absences: Backoff,
    /// To be waited before the server is asked for anything.
    pause: Option<Duration>,
    /// Updates to give before anything else is looked at.
    out: VecDeque<Update>,
}

/// Whether the server has a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Unknown,
    /// It was there, and this many answers since have said that it is not.
    Present(usize),
    Absent,
}

impl<K: Kind> Watching<K> {
    const KIND: Watched = K::WATCHED;

    async fn next(mut self) -> Option<(Update, Self)> {
        loop {
            if let Some(update) = self.out.pop_front() {
                return Some((update, self));
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            tokio::select! {
                // An event that is there comes before the news that events may come.
                biased;
                event = self.events.next() => match event {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(error)) => self.fail(&error),
                    // kube's watcher never ends.
                    None => self.start_over(),
                },
                () = self.opened.notified() => self.recover(),
            }
        }
    }

    fn take(&mut self, event: Event<Thin<K>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(thin) => {
                // What cannot be read exists all the same.
                self.listed.insert(thin.key());
                self.apply(thin);
            }
            Event::InitDone => {
                self.presence = Presence::Present(0);
                self.known = self.listed.len();
                self.out.push_back(Update::Listed(Self::KIND, std::mem::take(&mut self.listed)));
                self.recover();
            }
            Event::Apply(thin) => {
                self.recover();
                self.apply(thin);
            }
            Event::Delete(thin) => {
                self.recover();
                self.out.push_back(Update::Delete(Self::KIND, thin.key()));
            }
        }
    }

    fn apply(&mut self, thin: Thin<K>) {
        let (kind, key) = (Self::KIND, thin.key());
        if let (Some(kind), Some(uid)) = (K::POLICY, &thin.meta.uid) {
            let (key, generation) = (thin.own_key(), thin.meta.generation.unwrap_or_default());
            self.out.push_back(Update::Identified { kind, key, uid: uid.as_str().into(), generation });
        }
        let reading = thin.reading;
        self.out.extend(reading.object.map(Update::Apply));
        let diagnostics = reading.diagnostics;
        if reading.unreadable {
            self.out.push_back(Update::Unreadable { kind, key, diagnostics });
        } else if !diagnostics.is_empty() {
            self.out.push_back(Update::Warned { kind, key, diagnostics });
        }
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.out.push_back(Update::Recovered { kind: Self::KIND });
        }
    }

    fn fail(&mut self, error: &watcher::Error) {
        if was_silent(error) {
            return;
        }
        if K::OPTIONAL && status_of(error).is_some_and(|status| status.code == 404) {
            if self.is_absent() {
                return;
            }
        } else if let Presence::Present(times) = &mut self.presence {
            *times = 0;
        }
        let mut retry_in = self.backoff.pause();
        if has_lost_its_place(error) {
            self.start_over();
            // The same has happened to all nodes.
            retry_in = retry_in.max(Backoff::at_random(before_list(self.known)));
        }
        let status = status_of(error);
        let asked = status.and_then(|status| status.details.as_ref()).map_or(0, |details| details.retry_after_seconds);
        let asked = Duration::from_secs(asked.into()).min(LONGEST);
        if !asked.is_zero() {
            // Who has been sent away at the same time comes back at different ones.
            retry_in = retry_in.max((asked + Backoff::at_random(asked)).min(LONGEST));
        }
        // A watch that was taken before this failure is no recovery from it.
        let _ = self.opened.notified().now_or_never();
        (self.failing, self.pause) = (true, Some(retry_in));
        let mut text = match status {
            Some(status) if !status.message.is_empty() => format!("{} {}", status.code, status.message),
            _ => chain(error),
        };
        if status.is_some_and(|status| status.code == 403) {
            let rule = format!("{{apiGroups: [{:?}], resources: [{}], verbs: [list, watch]}}", K::GROUP, Self::KIND);
            text.push_str(&format!("; a ClusterRole with this rule, bound to the agent, allows it: {rule}"));
        }
        self.out.push_back(Update::Failing { kind: Self::KIND, error: text, retry_in });
    }

    /// Takes in that the server says that there is no such kind. Gives whether it is believed: then there are no
    /// objects of it. Until then what was known of them stays in force.
    fn is_absent(&mut self) -> bool {
        // A watch goes on asking for itself; whether there is a kind, a list has to say.
        self.start_over();
        match self.presence {
            Presence::Present(times) if times + 1 < GONE_AFTER => {
                self.presence = Presence::Present(times + 1);
                return false;
            }
            Presence::Unknown | Presence::Present(_) => {
                self.presence = Presence::Absent;
                self.out.push_back(Update::Listed(Self::KIND, HashSet::new()));
            }
            Presence::Absent => {}
        }
        self.recover();
        self.pause = Some(self.absences.pause());
        true
    }

    /// Begins with a list again.
    fn start_over(&mut self) {
        self.events = watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

/// Whether nothing was heard on a watch for as long as is waited. That need not be a failure: of kinds that never change
/// not every server sends bookmarks. kube's watcher asks again at once, and a server that is gone shows by that.
fn was_silent(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchFailed(Error::ReadEvents(error)) if timed_out(error))
}

/// Whether an error comes from a time that ran out, however often it was wrapped.
fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    let wrapped = io.and_then(io::Error::get_ref).is_some_and(|inner| timed_out(inner));
    wrapped || io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) || error.source().is_some_and(timed_out)
}

/// Whether a watch cannot go on from where it was, although kube's watcher would: it passes over a
/// line that it cannot read, which may have been an event, and it asks for an expired revision
/// again for ever when that was refused by status.
fn has_lost_its_place(error: &watcher::Error) -> bool {
    // A line that is no event is taken for a status when it can be, since all fields of that are optional.
    let unread = matches!(error, watcher::Error::WatchFailed(Error::SerdeError(_) | Error::Api(_)));
    unread || status_of(error).is_some_and(|status| status.code == 410 || is_of_the_future(status))
}

/// Whether the server has not come to the revision that a watch was to go on from: it was restored from a backup.
fn is_of_the_future(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    // Not every server gives a cause; the message is the same in all of them.
    causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
        || status.code == 504 && status.message.contains("Too large resource version")
}

/// What the server said, if it was the server that refused.
fn status_of(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(Error::Api(status))
        | WatchStartFailed(Error::Api(status))
        | WatchFailed(Error::Api(status)) => Some(status),
        WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_known_through_its_wrappings() {
        let out = || io::Error::from(io::ErrorKind::TimedOut);
        let watch = |error| watcher::Error::WatchFailed(Error::ReadEvents(error));
        assert!(was_silent(&watch(out())));
        assert!(was_silent(&watch(io::Error::other(io::Error::other(out())))));
        assert!(!was_silent(&watch(io::Error::other("reset"))));
        // A list that nobody answers is a failure.
        assert!(!was_silent(&watcher::Error::InitialListFailed(Error::ReadEvents(out()))));
    }
}
