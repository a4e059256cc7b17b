//! Flows as JSON lines, in a file or on standard output.
//!
//! ```text
//! Feed ── a task ── bounded queue ── a thread ──▶ the file
//! ```
//!
//! Only the thread ever waits for the disk, or for who reads the pipe. What does not fit into the
//! queue meanwhile is counted and left out.

use super::{Feed, Flow, Subscription};
use crate::observe::{BySink, Metrics};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::oneshot;

/// The label of its metrics.
const SINK: &str = "log";
/// How many flows may wait for the disk.
const WAITING: usize = 1024;
/// How long the end of the agent waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where lines are written.
#[derive(Debug)]
pub struct Out {
    name: String,
    to: Box<dyn Target>,
}

trait Target: Write + Send + std::fmt::Debug {}
impl<T: Write + Send + std::fmt::Debug> Target for T {}

/// Why it cannot be written there.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, the file of --flow-log, cannot be opened: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for OpenError {}

impl Out {
    /// Opens a file to append to, which only its owner may read if it is new; `-` is standard output.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Out, OpenError> {
        if path == Path::new("-") {
            return Ok(Out { name: "standard output".to_owned(), to: Box::new(io::stdout()) });
        }
        let file: Result<File, io::Error> = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| OpenError { path: path.to_owned(), error })?;
        Ok(Out { name: format!("`{}`", path.display()), to: Box::new(file) })
    }
}

/// The running log.
#[derive(Debug)]
pub struct Log {
    finish: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
}

impl Log {
    /// Writes what was published until now, and ends. Waits a moment for that, not for ever.
    pub async fn finish(self) {
        _ = self.finish.send(());
        if tokio::time::timeout(LAST_WORDS, self.done).await.is_err() {
            tracing::warn!("the last denied connections could not be written in time");
        }
    }
}

/// Writes all flows that are published from now on.
///
/// # Errors
/// When no thread can be had.
pub fn start(out: Out, feed: &Feed, metrics: Metrics) -> io::Result<Log> {
    metrics.will_tell(SINK);
    let (lines, queue) = mpsc::sync_channel(WAITING);
    let (finish, finished) = oneshot::channel();
    let (ended, done) = oneshot::channel();
    let counted = metrics.clone();
    std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || {
        write(out, &queue, &counted);
        // Nobody waits any more: that is fine.
        _ = ended.send(());
    })?;
    tokio::spawn(follow(feed.subscribe(), lines, metrics, finished));
    Ok(Log { finish, done })
}

/// Hands flows to the writer until it is told to finish, and then those that are there already.
async fn follow(
    subscription: Subscription,
    lines: mpsc::SyncSender<String>,
    metrics: Metrics,
    mut finished: oneshot::Receiver<()>,
) {
    let lost = |count: u64| _ = metrics.flow_sink_failures.get_or_create(&BySink { sink: SINK }).inc_by(count);
    let hand_over = |flow: &Flow| {
        let Ok(line) = serde_json::to_string(flow) else { return lost(1) };
        if lines.try_send(line).is_err() {
            lost(1);
        }
    };
    let mut coming = subscription.coming;
    loop {
        tokio::select! {
            biased;
            _ = &mut finished => break,
            flow = coming.recv() => match flow {
                Ok(flow) => hand_over(&flow),
                Err(RecvError::Lagged(missed)) => lost(missed),
                Err(RecvError::Closed) => return,
            },
        }
    }
    loop {
        match coming.try_recv() {
            Ok(flow) => hand_over(&flow),
            Err(TryRecvError::Lagged(missed)) => lost(missed),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

/// Writes lines as they come. What cannot be written is told once, until it works again.
fn write(mut out: Out, lines: &mpsc::Receiver<String>, metrics: &Metrics) {
    let (mut failing, mut torn) = (false, false);
    for line in lines {
        // A line that was cut off by a full disk is ended, so that the next one can be read.
        let text = format!("{}{line}\n", if torn { "\n" } else { "" });
        match out.to.write_all(text.as_bytes()).and_then(|()| out.to.flush()) {
            Ok(()) => {
                if failing {
                    tracing::info!("denied connections are written to {} again", out.name);
                }
                (failing, torn) = (false, false);
            }
            Err(error) => {
                metrics.flow_sink_failures.get_or_create(&BySink { sink: SINK }).inc();
                if !failing {
                    tracing::warn!("denied connections cannot be written to {}: {error}", out.name);
                }
                (failing, torn) = (true, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::tests::flow;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn what_is_published_is_appended_and_for_its_owner_only() {
        let path = std::env::temp_dir().join(format!("netsim-flow-log-{}", std::process::id()));
        _ = std::fs::remove_file(&path);
        let feed = Feed::default();
        for packets in [1, 2] {
            let log = start(Out::open(&path).unwrap(), &feed, Metrics::new()).unwrap();
            feed.publish(Flow { packets, ..flow() });
            log.finish().await;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        let packets: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["packets"].as_u64().unwrap())
            .collect();
        assert_eq!((packets, mode & 0o777), (vec![1, 2], 0o600));
    }

    /// Takes so many bytes, then is full.
    #[derive(Debug, Clone)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.lock().unwrap();
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fits = bytes.len().min(*room);
            written.extend(&bytes[..fits]);
            *room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let disk = Disk(Arc::new(Mutex::new((6, Vec::new()))));
        let (sender, lines) = mpsc::channel();
        let metrics = Metrics::new();
        let writer = {
            let (out, metrics) = (Out { name: "disk".into(), to: Box::new(disk.clone()) }, metrics.clone());
            std::thread::spawn(move || write(out, &lines, &metrics))
        };
        let failures = || metrics.flow_sink_failures.get_or_create(&BySink { sink: SINK }).get();
        for line in ["one", "two", "three"] {
            sender.send(line.to_owned()).unwrap();
        }
        while failures() < 2 {
            std::thread::yield_now();
        }
        disk.0.lock().unwrap().0 = 100;
        sender.send("four".to_owned()).unwrap();
        drop(sender);
        writer.join().unwrap();
        assert_eq!(String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap(), "one\ntw\nfour\n");
        assert_eq!(failures(), 2);
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_reads_stops_nobody() {
        #[derive(Debug)]
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (open, shut) = mpsc::channel();
        let (feed, metrics) = (Feed::default(), Metrics::new());
        let out = Out { name: "pipe".into(), to: Box::new(Stuck(shut)) };
        let log = start(out, &feed, metrics.clone()).unwrap();
        let failures = || metrics.flow_sink_failures.get_or_create(&BySink { sink: SINK }).get();
        // One is being written, the queue is full, and all others are counted.
        while failures() == 0 {
            feed.publish(flow());
            tokio::task::yield_now().await;
        }
        drop(open);
        log.finish().await;
    }
}
