//! A DNS server on loopback, UDP and TCP on one port, that answers as a script says: rightly, wrongly or not at all.

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A question as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name, in lower case, with its final dot.
    pub name: String,
    pub kind: RecordType,
    pub tcp: bool,
}

/// What a script is told.
pub struct Question {
    pub message: Message,
    pub asked: Asked,
    /// How many questions came before, over UDP and TCP.
    pub number: usize,
}

impl Question {
    /// An answer with these records.
    pub fn answer(&self, records: Vec<Record>) -> Message {
        self.code(ResponseCode::NoError, records)
    }

    /// An answer with a response code and these records.
    pub fn code(&self, code: ResponseCode, records: Vec<Record>) -> Message {
        let mut message = Message::response(self.message.metadata.id, OpCode::Query);
        message.metadata.response_code = code;
        message.metadata.recursion_available = true;
        message.add_queries(self.message.queries.clone());
        message.insert_answers(records);
        message
    }
}

/// Messages as bytes.
pub fn bytes(messages: &[Message]) -> Vec<Vec<u8>> {
    messages.iter().map(|message| message.to_vec().unwrap()).collect()
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

pub fn address(owner: &str, ttl: u32, address: &str) -> Record {
    let data = match address.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(name(owner), ttl, data)
}

pub fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

/// The record that says how long "there is nothing" may be kept.
pub fn start_of_authority(zone: &str, ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name(zone), name(zone), 1, 3600, 600, 86_400, minimum);
    Record::from_rdata(name(zone), ttl, RData::SOA(soa))
}

/// The server; it ends with the runtime of the test.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts one. The script gives the messages to send back, in their order.
    pub async fn start(script: impl Fn(&Question) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let answer = Answering { asked: Arc::clone(&asked), script };
        tokio::spawn(serve_udp(udp, answer.clone()));
        tokio::spawn(serve_tcp(tcp, answer));
        Server { address, asked }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Two sockets with the same port: TCP takes the one that UDP was given, or both begin again.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

type Script = Arc<dyn Fn(&Question) -> Vec<Vec<u8>> + Send + Sync>;

#[derive(Clone)]
struct Answering {
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Script,
}

impl Answering {
    fn to(&self, bytes: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let message = Message::from_vec(bytes).expect("a well-formed query");
        let query = message.queries.first().expect("a question").clone();
        let asked = Asked { name: query.name.to_ascii().to_lowercase(), kind: query.query_type, tcp };
        let number = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.len() - 1
        };
        (self.script)(&Question { message, asked, number })
    }
}

async fn serve_udp(socket: UdpSocket, answering: Answering) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        for reply in answering.to(&buffer[..length], false) {
            _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, answering: Answering) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, answering.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, answering: Answering) {
    while let Ok(length) = stream.read_u16().await {
        let mut message = vec![0; length.into()];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        for reply in answering.to(&message, true) {
            let length = u16::try_from(reply.len()).expect("a message of at most 64 KiB");
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}
