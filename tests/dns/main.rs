//! Names to addresses, against a DNS server on loopback that misbehaves on command.

mod decode;
mod resolve;
mod round;
mod server;
