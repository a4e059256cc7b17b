//! Sends flows to falcosidekick, which hands them on to chats, log stores and alerting.
//!
//! ```text
//! Feed ── its own buffer, the oldest goes first ──▶ Payload ── at a measured pace ──▶ POST, and again after failures
//! ```
//!
//! Nobody waits for this task: when it falls behind, it misses flows, counts them, and says now and then how many.

mod payload;

pub use payload::Payload;

use super::sinks::OfSink;
use super::text::shortened;
use crate::flows::Subscription;
use crate::watch::Backoff;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use k8s_openapi::jiff;
use kube::client::Body;
use kube::{Client, Config};
use netsim::load::live::chain;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// The most bytes of an answer that are looked at, and of it in the log.
const MAX_ANSWER: usize = 16 * 1024;
const MAX_QUOTED: usize = 200;

/// Where falcosidekick is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its URL, without credentials.
    pub url: Uri,
    /// The file with the certificates that vouch for it; unless given, those of the system do.
    pub ca: Option<PathBuf>,
}

/// How quickly is sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The pause after each request.
    pub gap: Duration,
    /// How long a request may take.
    pub patience: Duration,
    /// How long the same flow is tried.
    pub give_up: Duration,
    /// The longest pause after a failure.
    pub longest: Duration,
    /// How often is said how many flows were left out.
    pub left_out: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            gap: Duration::from_millis(50),
            patience: Duration::from_secs(10),
            give_up: Duration::from_secs(60),
            longest: Duration::from_secs(30),
            left_out: Duration::from_secs(10),
        }
    }
}

/// The way to it.
pub struct Sender {
    client: Client,
    target: Target,
    node: String,
    pace: Pace,
    metrics: OfSink,
    /// When the next request may be made.
    not_before: Instant,
    backoff: Backoff,
    /// What failures were logged since it last took something.
    complained: BTreeSet<u16>,
    /// Flows that were not told, since it was last said how many.
    left_out: u64,
}

/// There is no way to it.
#[derive(Debug)]
pub struct TargetError(String);

impl TargetError {
    fn new(target: &Target, reason: &str) -> Self {
        Self(match &target.ca {
            Some(ca) => format!("cannot use the certificates in `{}`: {reason}", ca.display()),
            None => format!("cannot send to `{}`: {reason}", target.url),
        })
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TargetError {}

/// Why something was not taken.
#[derive(Debug)]
enum Failure {
    /// It answered so.
    Refused(StatusCode, String),
    /// It did not answer in time.
    Silent(Duration),
    /// It could not be asked.
    Away(String),
}

impl Failure {
    /// Whether the same request may be taken later.
    fn is_passing(&self) -> bool {
        match self {
            Failure::Refused(status, _) => {
                status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(status)
            }
            Failure::Silent(_) | Failure::Away(_) => true,
        }
    }

    /// The same for failures of one kind.
    fn kind(&self) -> u16 {
        match self {
            Failure::Refused(status, _) => status.as_u16(),
            Failure::Silent(_) => 1,
            Failure::Away(_) => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(status, text) if text.is_empty() => write!(f, "it answers {status}"),
            Failure::Refused(status, text) => write!(f, "it answers {status}: {text}"),
            Failure::Silent(time) => write!(f, "no answer within {time:?}"),
            Failure::Away(text) => f.write_str(text),
        }
    }
}

impl Sender {
    /// Nothing is asked of it yet. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(target: Target, node: &str, pace: Pace, metrics: OfSink) -> Result<Self, TargetError> {
        if target.ca.is_some() && target.url.scheme_str() != Some("https") {
            return Err(TargetError::new(&target, "the URL does not begin with https"));
        }
        // No proxy, no credentials: it is in the cluster.
        let mut config = Config::new(target.url.clone());
        if target.ca.is_some() || target.url.scheme_str() != Some("https") {
            // The system's are not asked for, which an image need not have.
            config.root_cert = Some(Vec::new());
        }
        config.root_cert_file.clone_from(&target.ca);
        config.connect_timeout = Some(pace.patience);
        config.write_timeout = Some(pace.patience);
        config.disable_compression = true;
        config.default_retry = false;
        let client = Client::try_from(config);
        let client = client.map_err(|error| TargetError::new(&target, &chain(&error)))?;
        Ok(Sender {
            client,
            target,
            node: node.to_owned(),
            pace,
            metrics,
            not_before: Instant::now(),
            backoff: Backoff::up_to(pace.longest),
            complained: BTreeSet::new(),
            left_out: 0,
        })
    }

    /// Sends what comes, until nothing can come any more.
    pub async fn run(mut self, flows: Subscription) {
        let Subscription { recent, mut coming } = flows;
        for flow in recent {
            self.tell(&Payload::of(&flow)).await;
        }
        let mut summed_up = Instant::now();
        loop {
            let next = summed_up + self.pace.left_out;
            tokio::select! {
                // Also while flows come all the time.
                biased;
                () = sleep_until(next), if self.left_out > 0 => {
                    self.sum_up().await;
                    summed_up = Instant::now();
                }
                flow = coming.recv() => match flow {
                    Ok(flow) => self.tell(&Payload::of(&flow)).await,
                    Err(RecvError::Lagged(missed)) => self.lose(missed),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    async fn tell(&mut self, payload: &Payload) {
        if !self.deliver(payload).await {
            self.lose(1);
        }
    }

    fn lose(&mut self, flows: u64) {
        self.metrics.lost.inc_by(flows);
        self.left_out += flows;
    }

    async fn sum_up(&mut self) {
        let payload = Payload::left_out(self.left_out, &self.node, Timestamp::now());
        if self.deliver(&payload).await {
            self.left_out = 0;
        }
    }

    /// Tries until it is taken, refused for good, or was tried long enough. Gives whether it was taken.
    async fn deliver(&mut self, payload: &Payload) -> bool {
        let Ok(body) = serde_json::to_vec(payload) else { return false };
        let give_up = Instant::now() + self.pace.give_up;
        loop {
            sleep_until(self.not_before).await;
            let answer = timeout(self.pace.patience, self.post(body.clone())).await;
            let Err(failure) = answer.unwrap_or(Err(Failure::Silent(self.pace.patience))) else {
                self.metrics.sent.inc();
                self.not_before = Instant::now() + self.pace.gap;
                if !std::mem::take(&mut self.complained).is_empty() {
                    tracing::info!("falcosidekick takes flows again");
                }
                return true;
            };
            self.metrics.errors.inc();
            self.complain(&failure);
            let passes = failure.is_passing();
            self.not_before = Instant::now() + if passes { self.backoff.pause() } else { self.pace.gap };
            if !passes || self.not_before > give_up {
                return false;
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Failure> {
        let away = |error: &dyn std::error::Error| Failure::Away(chain(error));
        // The client puts the host in front, and the path of its URL before ours, which is none.
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("netsim-enforcer/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| away(&error))?;
        let exchange = async {
            let answer = self.client.send(request).await.map_err(|error| away(&error))?;
            let status = answer.status();
            // To its end, so that the connection can be used again.
            let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            if status.is_success() {
                return Ok(());
            }
            let text = text.map(|text| text.to_bytes()).unwrap_or_default();
            let text = shortened(String::from_utf8_lossy(&text).trim(), MAX_QUOTED);
            Err(Failure::Refused(status, text))
        };
        // The client logs each failure, in the words of an API server. Here it is told once.
        exchange.with_subscriber(NoSubscriber::default()).await
    }

    /// Logs a failure, unless it is like one that was logged.
    fn complain(&mut self, failure: &Failure) {
        if !self.complained.insert(failure.kind()) {
            return;
        }
        let what_then = if failure.is_passing() {
            format!("each is tried for {:?}", self.pace.give_up)
        } else {
            "it is not tried again".to_owned()
        };
        let authority = self.target.url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        tracing::warn!(at = authority, "falcosidekick does not take flows: {failure}; {what_then}");
    }
}

#[cfg(test)]
mod tests;
