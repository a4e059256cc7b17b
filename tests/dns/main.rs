//! Names to addresses, against a DNS server on loopback that misbehaves on command.

#![allow(clippy::unwrap_used)]

mod decode;
mod resolve;
mod round;
mod server;
