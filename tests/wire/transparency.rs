//! What the upstream and the client get with the program between, beside what they get without it: the
//! differences are the documented ones, and no others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

use super::protocols::Protocol;
use super::rig::endpoint;
use super::support::client::BodyEnd;
use super::support::http::header_lines;
use super::support::{Answer, Cluster, End, Qcc, Raw, Step, Upstream, llm};

/// An exchange, byte for byte: what the client sends but for the `Host`, and all that the upstream does.
pub struct Exchange {
    pub name: String,
    pub method: &'static str,
    pub target: String,
    /// Header lines, their framing among them.
    pub headers: Vec<Vec<u8>>,
    /// As it is on the wire.
    pub body: Vec<u8>,
    pub answer: Vec<u8>,
    pub end: End,
}

/// What both ends saw of one exchange.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    up: Fields,
    up_body: Vec<u8>,
    status: u16,
    down: Fields,
    down_body: Vec<u8>,
    end: BodyEnd,
}

/// The values of each name, in their order: the order of different names has no meaning (RFC 9110 §5.3).
type Fields = BTreeMap<String, Vec<String>>;

/// What the program replaces or leaves out on the way up, by its contract: credentials, the authority, how
/// the body is delimited, what is between the client and the program.
fn differs_up(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "host",
        "x-api-key",
        "authorization",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "upgrade",
        "cookie",
        "forwarded",
        "x-named-by-connection",
    ];
    NAMES.contains(&name) || name.starts_with("proxy-") || name.starts_with("x-forwarded-")
}

/// The same on the way down, and what it adds.
fn differs_down(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "content-length",
        "set-cookie",
        "x-named-by-connection",
        "x-qcc-endpoint",
        "x-qcc-attempts",
    ];
    NAMES.contains(&name)
}

/// Values as text in which every byte shows.
fn fields(head: &[u8], differs: fn(&str) -> bool) -> Fields {
    let mut fields = Fields::new();
    // So that a request which comes back is known, where that could be; what a client says there passes.
    let is_own_mark = |name: &str, value: &[u8]| name == "via" && value.starts_with(b"1.1 qcc-");
    let lines =
        header_lines(head).into_iter().filter(|(name, value)| !differs(name) && !is_own_mark(name, value));
    for (name, value) in lines {
        fields.entry(name).or_default().push(value.escape_ascii().to_string());
    }
    fields
}

/// Tells one exchange from another, and from the program's own checks.
const NUMBER: &str = "x-test-exchange";
static NUMBERS: AtomicU64 = AtomicU64::new(0);

async fn perform(exchange: &Exchange, upstream: &Upstream, address: &str) -> Seen {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed).to_string();
    let steps = [Step::Bytes(exchange.answer.clone()), Step::End(exchange.end)];
    upstream.set(move |request| match request.header(NUMBER) {
        Some(_) => Answer::wire(steps.clone()),
        None => llm::healthy(request),
    });
    let mut request = format!(
        "{} {} HTTP/1.1\r\nhost: {address}\r\n{NUMBER}: {number}\r\n",
        exchange.method, exchange.target
    )
    .into_bytes();
    for line in &exchange.headers {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(&exchange.body);
    let mut raw: Raw<TcpStream> = Raw::connect(address).await;
    raw.send(request).await;
    let head = raw.read_head().await.unwrap_or_else(|| panic!("{}: no answer", exchange.name));
    let has_body = exchange.method != "HEAD" && head.status() != 204;
    let (down_body, end) = if has_body { raw.read_body(&head).await } else { (Vec::new(), BodyEnd::Clean) };
    let of_this = |request: &super::support::Recorded| request.header(NUMBER) == Some(number.as_str());
    let found = upstream.matching(of_this);
    assert_eq!(found.len(), 1, "{}: one request up for one that came in", exchange.name);
    let mut up = fields(&found[0].head, differs_up);
    up.remove(NUMBER);
    let mut down = fields(&head.bytes, differs_down);
    if head.status() == 429 {
        // It carries the earliest return over all endpoints.
        down.retain(|name, _| !name.starts_with("retry-after"));
    }
    if exchange.method == "HEAD" {
        // Of an answer without a body the length is no framing: it is what was asked for.
        down.extend(
            head.header("content-length").map(|length| ("content-length".into(), vec![length.into()])),
        );
    }
    Seen {
        method: found[0].method.clone(),
        target: found[0].target.clone(),
        up,
        up_body: found[0].body().to_vec(),
        status: head.status(),
        down,
        down_body,
        end,
    }
}

/// Performs each exchange twice, with and without the program, and compares.
pub async fn compare(protocol: Protocol, exchanges: Vec<Exchange>) {
    let upstream = Upstream::healthy();
    let qcc = Qcc::start(&Cluster::tiers([endpoint("a", &upstream, protocol)]));
    let mut wrong = Vec::new();
    for mut exchange in exchanges {
        let direct = perform(&exchange, &upstream, &upstream.address().to_string()).await;
        // What stands for the next exchange is not this one's matter.
        qcc.command("reset", "a");
        exchange.name = format!("{protocol:?} {}", exchange.name);
        let between = perform(&exchange, &upstream, qcc.address()).await;
        wrong.extend(
            differences(&direct, &between).into_iter().map(|found| format!("{}: {found}", exchange.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn differences(direct: &Seen, between: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    if (&direct.method, &direct.target) != (&between.method, &between.target) {
        found.push(format!("{} {}, not {} {}", between.method, between.target, direct.method, direct.target));
    }
    if (direct.status, &direct.end) != (between.status, &between.end) {
        found.push(format!("{} {:?}, not {} {:?}", between.status, between.end, direct.status, direct.end));
    }
    for (way, direct, between) in [("up", &direct.up, &between.up), ("down", &direct.down, &between.down)] {
        for name in direct.keys().chain(between.keys()) {
            if direct.get(name) != between.get(name) {
                found.push(format!("{way}, {name}: {:?}, not {:?}", between.get(name), direct.get(name)));
            }
        }
    }
    for (way, direct, between) in
        [("up", &direct.up_body, &between.up_body), ("down", &direct.down_body, &between.down_body)]
    {
        if direct != between {
            found.push(format!("{way}: a body of {} bytes, not of {}", between.len(), direct.len()));
        }
    }
    found
}
