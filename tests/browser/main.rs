//! A real browser against qcc on loopback: what pages of other sites send reaches no endpoint, and they read
//! nothing, even under a name that its owner binds to this machine once the page is loaded.
//!
//! `cargo test --test browser -- --ignored`; Chromium by `QCC_CHROMIUM`, else from `PATH`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod chromium;
#[path = "../support/mod.rs"]
mod support;
mod switch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use chromium::Chromium;
use support::{Answer, Client, Cluster, End, Endpoint, Qcc, Recorded, Upstream, exchange, llm};
use switch::Switch;

/// A browser's start and its slowest page, on a busy machine with room to spare.
const BROWSER_LIMIT: Duration = Duration::from_secs(60);
/// As each probe of the page has its name in its target.
const PROBES: [&str; 29] = [
    "post-text",
    "post-form",
    "post-json",
    "post-chat",
    "get-opaque",
    "get-cors",
    "head",
    "options",
    "delete",
    "image",
    "script",
    "style",
    "frame",
    "form-text",
    "form-encoded",
    "beacon",
    "websocket",
    "events",
    "xhr",
    "livez",
    "status",
    "status-opaque",
    "status-script",
    "status-frame",
    "metrics",
    "events-list",
    "status-page",
    "command",
    "stop",
];

async fn awaited(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + BROWSER_LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {BROWSER_LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// qcc in front of a recorder that it sends nothing of its own to, since it bills by the request.
struct Victim {
    recorder: Upstream,
    qcc: Qcc,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Victim {
    fn start(lines: &[&str]) -> Self {
        let recorder = Upstream::healthy();
        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cluster = Cluster::new("work")
            .endpoint(Endpoint::new("relay", &recorder).per_request())
            .line(&format!("admin_listen = '{admin}'"));
        let qcc = Qcc::start(&lines.iter().fold(cluster, |cluster, line| cluster.line(line)));
        let proxy = qcc.address().parse().unwrap();
        Self { recorder, qcc, proxy, admin }
    }

    /// Nothing of what the pages sent was forwarded, and no command was obeyed.
    #[track_caller]
    fn assert_untouched(&self) {
        let targets: Vec<String> =
            self.recorder.requests().iter().map(|request| request.target.clone()).collect();
        assert_eq!(targets, [""; 0], "requests that reached the endpoint");
        assert_eq!(self.recorder.connections(), 0);
        let relay = self.qcc.endpoint("relay");
        assert_eq!((&relay["admin"], &relay["requests"]["sent"]), (&"active".into(), &0.into()));
    }

    /// A client that is no browser is served at the address that the pages were refused at.
    async fn assert_serves(&self) {
        Client::of(&self.qcc).ask("from this machine").await.expect_from("relay");
        assert_eq!(self.recorder.requests().len(), 1);
    }
}

/// A page of the attacker's: where it is, what it goes for, and what it binds anew first.
struct Page {
    url: String,
    bases: Value,
    rebinds: Vec<(Switch, SocketAddr)>,
}

struct Attacker {
    server: Upstream,
}

impl Attacker {
    fn start() -> Self {
        Self { server: Upstream::start(|_| Answer::new(404)) }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn url(&self, path: &str) -> String {
        format!("http://evil.test:{}{path}", self.address().port())
    }

    /// Serves the pages, one leading to the next, and awaits what each has to report. The last lets the
    /// browser's own window go to `last`.
    async fn lure(&self, pages: Vec<Page>, last: Option<String>) -> (Vec<Value>, Chromium) {
        let mut documents = Vec::new();
        for (number, page) in pages.iter().enumerate() {
            let plan = json!({
                "bases": page.bases,
                "report": self.url("/report"),
                "flip": (!page.rebinds.is_empty()).then(|| self.url(&format!("/rebind/{number}"))),
                "next": pages.get(number + 1).map(|next| next.url.clone()),
                "last": last,
            });
            documents.push(include_str!("page.html").replace("__PLAN__", &plan.to_string()));
        }
        let (first, count) = (pages[0].url.clone(), pages.len());
        self.server.set(move |request| answer(request, &documents, &pages));
        let browser = Chromium::open(&first);
        let reports =
            || self.server.matching(|request| request.path() == "/report" && !request.body().is_empty());
        awaited("the report of each page", || reports().len() >= count).await;
        (reports().iter().map(|report| report.json()).collect(), browser)
    }
}

/// Every connection to the attacker is for one answer, so that the browser has none left when a name moves.
fn answer(request: &Recorded, documents: &[String], pages: &[Page]) -> Answer {
    let mut words = request.path().trim_start_matches('/').split('/');
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok());
    let answer = match (words.next(), number(words.next())) {
        (Some("page"), Some(number)) => {
            Answer::new(200).header("content-type", "text/html").body(documents[number].clone())
        }
        (Some("rebind"), Some(number)) => {
            pages[number].rebinds.iter().for_each(|(switch, target)| switch.flip(*target));
            Answer::new(200)
        }
        (Some("report"), None) => Answer::new(200),
        (_, _) => Answer::new(404),
    };
    let answer = answer.header("access-control-allow-origin", "*").header("cache-control", "no-store");
    answer.header("connection", "close").ending(End::Fin)
}

/// Pages under a name that leads to the attacker, then to qcc: one to the proxy and one to `admin_listen`.
async fn rebound(
    names: &[&str],
    attacker: &Attacker,
    victim: &Victim,
) -> (Vec<Page>, Vec<(Switch, SocketAddr)>) {
    let (mut pages, mut switches) = (Vec::new(), Vec::new());
    for name in names {
        for (what, target) in [("proxy", victim.proxy), ("admin", victim.admin)] {
            let switch = Switch::to(attacker.address()).await;
            let origin = format!("http://{name}:{}", switch.port());
            pages.push(Page {
                url: format!("{origin}/page/{}", pages.len()),
                bases: json!({what: origin}),
                rebinds: vec![(switch.clone(), target)],
            });
            switches.push((switch, target));
        }
    }
    (pages, switches)
}

/// All that the pages sent has arrived: the browser held nothing back that qcc is to refuse.
async fn all_sent(switches: &[(Switch, SocketAddr)]) {
    for (switch, target) in switches {
        for probe in PROBES {
            let probe_arrived = || switch.sent_to(*target, &format!("probe={probe}."));
            awaited(&format!("the probe {probe} at port {}", switch.port()), probe_arrived).await;
        }
    }
}

#[track_caller]
fn assert_answers(switches: &[(Switch, SocketAddr)], allowed: &[u16]) {
    for (switch, target) in switches {
        let answers = switch.answers_of(*target);
        assert!(!answers.is_empty());
        for head in answers {
            assert!(allowed.contains(&head.status()), "{head:?}");
            let grants = head.lines().into_iter().filter(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(grants.count(), 0, "{head:?}");
        }
    }
}

fn results(reports: &[Value]) -> Vec<Value> {
    reports.iter().flat_map(|report| report["results"].as_array().unwrap().clone()).collect()
}

/// What the page `base` saw of a probe.
fn result(reports: &[Value], base: &str, probe: &str) -> Value {
    let all = results(reports);
    let wanted = |result: &&Value| result["base"] == base && result["probe"] == probe;
    all.iter().find(wanted).unwrap_or_else(|| panic!("no report of {base} {probe}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: cargo test --test browser -- --ignored"]
async fn pages_of_other_sites_reach_no_endpoint_and_read_nothing() {
    let (victim, attacker) = (Victim::start(&[]), Attacker::start());
    let (proxy, admin) = (Switch::to(victim.proxy).await, Switch::to(victim.admin).await);
    let base = |host: &str, switch: &Switch| format!("http://{host}:{}", switch.port());
    // Another site, and other servers of this machine: one site with qcc to the browser, or even one host.
    let hosts = ["evil.test", "localhost", "127.0.0.1"];
    let pages = hosts.iter().enumerate().map(|(number, host)| Page {
        url: format!("http://{host}:{}/page/{number}", attacker.address().port()),
        bases: json!({
            "proxy": base("127.0.0.1", &proxy), "proxy by name": base("localhost", &proxy),
            "admin": base("127.0.0.1", &admin), "admin by name": base("localhost", &admin),
        }),
        rebinds: Vec::new(),
    });
    let pages: Vec<Page> = pages.collect();
    let last = format!("{}/v1/messages?probe=own-window.", base("127.0.0.1", &proxy));
    let (reports, _browser) = attacker.lure(pages, Some(last)).await;

    let switches = [(proxy.clone(), victim.proxy), (admin, victim.admin)];
    all_sent(&switches).await;
    awaited("the browser's own window", || proxy.sent_to(victim.proxy, "probe=own-window.")).await;
    victim.assert_untouched();
    // A window of its own asks for an icon, too, of which there is none.
    assert_answers(&switches, &[403, 404]);
    assert_eq!(results(&reports).len(), hosts.len() * 4 * PROBES.len());
    for result in results(&reports) {
        assert!(
            ["opaque", "refused", "loaded", "queued"].iter().any(|kind| result["kind"] == *kind),
            "{result}"
        );
        assert!(matches!(result["status"].as_u64(), None | Some(0)), "{result}");
        assert!(matches!(result["text"].as_str(), None | Some("")), "{result}");
    }
    victim.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: cargo test --test browser -- --ignored"]
async fn a_name_bound_anew_reaches_no_endpoint_and_reads_nothing() {
    let (victim, attacker) = (Victim::start(&[]), Attacker::start());
    let names = ["rebind.test", "localhost.evil.test", "127.0.0.1.nip.io"];
    let (pages, switches) = rebound(&names, &attacker, &victim).await;
    let (reports, _browser) = attacker.lure(pages, None).await;

    all_sent(&switches).await;
    victim.assert_untouched();
    assert_answers(&switches, &[421]);
    assert_eq!(results(&reports).len(), names.len() * 2 * PROBES.len());
    for result in results(&reports) {
        // To the browser it is the page's own site, so that even the refusal can be read.
        assert!(matches!(result["status"].as_u64(), None | Some(421)), "{result}");
        assert!(!["open", "no answer"].iter().any(|kind| result["kind"] == *kind), "{result}");
        assert!(!result["text"].as_str().unwrap_or("").contains("relay"), "{result}");
    }
    assert_eq!(result(&reports, "proxy", "post-json")["status"], 421, "it could be read");
    victim.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: cargo test --test browser -- --ignored"]
async fn a_name_bound_anew_has_no_token_where_tokens_are_asked_for() {
    let (victim, attacker) =
        (Victim::start(&["client_tokens = ['token-of-a-client-0123']"]), Attacker::start());
    let (pages, switches) = rebound(&["rebind.test"], &attacker, &victim).await;
    let (reports, _browser) = attacker.lure(pages, None).await;

    all_sent(&switches).await;
    victim.assert_untouched();
    // 200 for `livez` and 426 for the WebSocket, which say no more than that a proxy is here.
    assert_answers(&switches, &[401, 421, 426, 200]);
    for result in results(&reports).iter().filter(|result| result["status"] == 200) {
        assert_eq!((&result["probe"], &result["text"]), (&"livez".into(), &"alive\n".into()));
    }
    assert_eq!(result(&reports, "proxy", "post-json")["status"], 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: cargo test --test browser -- --ignored"]
async fn the_same_page_is_served_under_a_name_that_the_owner_allows() {
    let (victim, attacker) = (Victim::start(&["allowed_hosts = ['rebind.test']"]), Attacker::start());
    let (pages, switches) = rebound(&["rebind.test"], &attacker, &victim).await;
    let (reports, _browser) = attacker.lure(pages, None).await;

    all_sent(&switches).await;
    for (method, probe) in [
        ("POST", "post-text"),
        ("POST", "post-json"),
        ("POST", "form-text"),
        ("POST", "beacon"),
        ("GET", "get-cors"),
        ("GET", "image"),
        ("HEAD", "head"),
    ] {
        let forwarded = || {
            let marked = format!("probe={probe}.");
            victim
                .recorder
                .requests()
                .iter()
                .any(|request| request.method == method && request.target.contains(&marked))
        };
        awaited(&format!("{method} {probe} at the endpoint"), forwarded).await;
    }
    let answered = result(&reports, "proxy", "post-json");
    assert_eq!(answered["status"], 200, "{answered}");
    assert!(answered["text"].as_str().unwrap().contains("hello"), "{answered}");
    assert!(result(&reports, "admin", "status")["text"].as_str().unwrap().contains("relay"));
    assert_eq!(result(&reports, "admin", "command")["status"], 405, "commands are on the socket only");
    assert_eq!(victim.qcc.endpoint("relay")["admin"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: cargo test --test browser -- --ignored"]
async fn the_status_page_shows_the_status_to_its_own_user() {
    let victim = Victim::start(&[]);
    let admin = Switch::to(victim.admin).await;
    let _browser = Chromium::open(&format!("http://127.0.0.1:{}/", admin.port()));
    awaited("the page asks for the document", || admin.sent_to(victim.admin, "GET /status ")).await;
    awaited("both are answered", || {
        admin.answers_of(victim.admin).iter().filter(|head| head.status() == 200).count() >= 2
    })
    .await;
    let reply = exchange(Client::of(&victim.qcc).post("/v1/messages", &llm::message("beside it"))).await;
    reply.expect_from("relay");
}
