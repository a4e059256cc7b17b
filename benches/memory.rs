//! What compiling and finding all pairs of classes takes in memory: the most that was resident
//! (`VmHWM`), and what was resident before. Not a criterion bench: Linux only, one run a size.

use netsim_benches::cluster;
use netsim_shared::compile::{Compiled, Modes};
use netsim_shared::evaluate::Addresses;
use netsim_shared::list::{Listing, Options};
use netsim_shared::net::Family;
use netsim_shared::relation::Relation;
use std::fs;
use std::time::Instant;

/// A line of `/proc/self/status`, in MB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Does something and tells its time and its memory.
fn measure<T>(what: &str, work: impl FnOnce() -> T) -> T {
    // 5 sets the high-water mark back to what is resident now.
    _ = fs::write("/proc/self/clear_refs", "5");
    let (before, start) = (status("VmRSS"), Instant::now());
    let done = work();
    let (took, peak) = (start.elapsed(), status("VmHWM"));
    println!("{what:<44} {:>9.1} ms  {before:>5} MB before  {peak:>5} MB at most", took.as_secs_f64() * 1e3);
    done
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    for pods in [1_000, 10_000, 100_000] {
        let index = cluster(pods).index();
        let compiled = measure(&format!("compile {pods}"), || Compiled::new(&index, &Modes::default()));
        measure(&format!("all pairs of classes {pods}"), || {
            Relation::new(&compiled, Family::V4, Addresses::Surely).count_pairs()
        });
        if pods <= 10_000 {
            measure(&format!("list {pods}"), || {
                let listing = Listing::new(&compiled, Options { expand: false, outside: true });
                let mut count = 0_usize;
                listing.for_each(|_| true, |_, _, _| count += 1);
                count
            });
        }
    }
}
