//! The way from the private network to the API server, which is somewhere outside of it. A process
//! that stayed outside connects; doors in the namespaces lead to it through a socket in the file
//! system. Nothing else leaves.

use netsim_testkit::netns::Place;
use std::io::{BufRead, BufReader, Read, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The first argument of the process outside.
pub const OUTSIDE: &str = "--as-relay";

/// The process outside; it ends with this one.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    child: Child,
}

impl Relay {
    /// Starts it. To be called before the network is private.
    pub fn start(folder: &Path, target: &str) -> Self {
        let socket = folder.join("relay");
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg(OUTSIDE)
            .arg(&socket)
            .arg(target)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut ready = String::new();
        let said = child.stdout.take().expect("a pipe");
        BufReader::new(said).read_line(&mut ready).expect("a line");
        assert_eq!(ready, "ready\n", "the relay does not start");
        Relay { socket, child }
    }

    /// Opens a door, in the namespace of a place or else in that of this process.
    pub fn door(&self, place: Option<&Place>, at: SocketAddr, gate: &Arc<Gate>) -> SocketAddr {
        let listen = || TcpListener::bind(at).unwrap_or_else(|e| panic!("cannot listen on {at}: {e}"));
        let listener = place.map_or_else(listen, |place| place.exec(listen));
        let address = listener.local_addr().expect("an address");
        let (socket, gate) = (self.socket.clone(), Arc::clone(gate));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let (true, Ok(outside)) = (gate.is_open(), UnixStream::connect(&socket)) {
                    gate.remember(&stream);
                    join(stream, outside);
                }
            }
        });
        address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Lets connections through, or cuts them.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    live: Mutex<Vec<TcpStream>>,
}

impl Gate {
    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }

    fn remember(&self, stream: &TcpStream) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.extend(stream.try_clone());
    }

    /// Cuts all connections, and lets no new one through.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for stream in self.live.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Most of them are over already.
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }
}

/// What the process outside does.
pub fn outside(socket: &Path, target: &str) -> ! {
    let listener = UnixListener::bind(socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
    println!("ready");
    thread::spawn(|| {
        // Whoever started it closes this by ending.
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    for stream in listener.incoming().map_while(Result::ok) {
        match TcpStream::connect(target) {
            Ok(server) => join(server, stream),
            Err(error) => eprintln!("no connection to {target}: {error}"),
        }
    }
    std::process::exit(1)
}

/// Passes on what comes, in both directions, until both have ended.
fn join(tcp: TcpStream, unix: UnixStream) {
    let (Ok(tcp2), Ok(unix2)) = (tcp.try_clone(), unix.try_clone()) else { return };
    thread::spawn(move || {
        _ = copy(&mut &tcp2, &mut &unix2);
        _ = unix2.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        _ = copy(&mut &unix, &mut &tcp);
        _ = tcp.shutdown(Shutdown::Both);
    });
}
