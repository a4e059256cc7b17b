//! One network namespace: made, named, entered, gone.

use super::enter::{NAMES, assert_entered};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Settings of every namespace. Those of the second list are missing from some kernels, or are not
/// ours to write there; without them tests are slower, not wrong.
const NEEDED: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    // The answers that probes wait for are not to be rationed.
    ("ipv4/icmp_ratelimit", "0"),
    // Echo requests without raw sockets.
    ("ipv4/ping_group_range", "0 0"),
    // No address waits for its duplicate.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/icmp/ratelimit", "0"),
];
const WISHED: &[(&str, &str)] = &[
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "100000"),
    // A connection that was cut is back within a second of being allowed again.
    ("ipv4/tcp_rto_max_ms", "1000"),
];

/// A network namespace under a name; dropping it frees it, unless somebody else holds it open.
#[derive(Debug)]
pub(super) struct Space {
    path: PathBuf,
    file: File,
}

impl Space {
    /// A new namespace, with more settings (paths below `/proc/sys/net`) than those all have.
    pub(super) fn create(name: &str, settings: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        assert_entered();
        let safe: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let path = Path::new(NAMES).join(format!("{}-{safe}", COUNT.fetch_add(1, Ordering::Relaxed)));
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("no namespace for `{name}`: {e}"));
            for (path, value) in NEEDED.iter().chain(settings) {
                set(path, value).unwrap_or_else(|e| panic!("cannot set `net/{path}` to {value} for `{name}`: {e}"));
            }
            for (path, value) in WISHED {
                let _ = set(path, value);
            }
            File::create(&path).unwrap_or_else(|e| panic!("cannot create `{}`: {e}", path.display()));
            let none = None::<&str>;
            mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)
                .unwrap_or_else(|e| panic!("cannot mount `{}`: {e}", path.display()));
        });
        let file = File::open(&path).unwrap_or_else(|e| panic!("cannot open `{}`: {e}", path.display()));
        Self { path, file }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread in, for good: only for threads that end, or that go elsewhere next.
    pub(super) fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|e| panic!("cannot enter `{}`: {e}", self.path.display()));
    }

    /// Runs a closure inside, on a thread of its own.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        in_thread(|| {
            self.enter();
            work()
        })
    }

    /// Runs a program inside with this on its standard input, and returns what it printed.
    pub(super) fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let output = self.run(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A program that fails early closes its end; what it says is the better message.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        });
        let output = output.map_err(|e| format!("`{program}`: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Runs lines of `ip` inside.
    pub(super) fn ip(&self, lines: &str) {
        if lines.is_empty() {
            return;
        }
        self.feed("ip", &["-batch", "-"], lines)
            .unwrap_or_else(|e| panic!("`ip` in `{}`: {e}\n{lines}", self.path.display()));
    }

    /// Waits until these interfaces carry packets: the end of a link that was up first starts a moment
    /// after the other one. Asking for a single interface makes recent kernels start it at once.
    pub(super) fn wait_running(&self, interfaces: &[String]) {
        let lines: String = interfaces.iter().map(|i| format!("link show dev {i}\n")).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !lines.is_empty() {
            let shown = self
                .feed("ip", &["-o", "-batch", "-"], &lines)
                .unwrap_or_else(|e| panic!("`ip` in `{}`: {e}\n{lines}", self.path.display()));
            let Some(down) = shown.lines().find(|line| !line.contains(" state UP ")) else { return };
            assert!(Instant::now() < deadline, "a link in `{}` does not come up: {down}", self.path.display());
        }
    }

    /// Waits until all IPv6 addresses answer neighbours: the kernel listens for these in a moment of
    /// its own, and who asked too early asks again a second later.
    pub(super) fn wait_neighbours(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.run(|| {
            while let Some(missing) = unheard().expect("the list of IPv6 addresses") {
                assert!(Instant::now() < deadline, "{missing} in `{}` does not come up", self.path.display());
                thread::sleep(Duration::from_micros(200));
            }
        });
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Nobody is there to hear of a failure, and the names go away with the process.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a setting of the calling thread's namespace, unless it has that value: without root some
/// can be read only.
fn set(path: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(path);
    let now = fs::read_to_string(&path)?;
    if now.split_whitespace().eq(value.split_whitespace()) {
        return Ok(());
    }
    fs::write(path, value)
}

/// An IPv6 address of the calling thread's namespace whose multicast group (RFC 4291, 2.7.1) is not
/// joined yet.
fn unheard() -> io::Result<Option<String>> {
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
    let groups = fs::read_to_string("/proc/thread-self/net/igmp6")?;
    let joined = |device: &str, group: &str| {
        groups.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(device) && words.next() == Some(group)
        })
    };
    let missing = addresses.lines().find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(address), Some(device)) = (words.first(), words.last()) else { return false };
        let Some(tail) = address.get(26..) else { return false };
        *device != "lo" && !joined(device, &format!("ff0200000000000000000001ff{tail}"))
    });
    Ok(missing.map(str::to_owned))
}

/// Runs a closure on a thread that ends with it, so that no namespace sticks to the caller's.
fn in_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Does the same with everything in a list, a few at a time.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(2, usize::from).max(2);
    let share = items.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> =
            items.chunks(share).map(|chunk| scope.spawn(|| chunk.iter().map(&work).collect::<Vec<R>>())).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
