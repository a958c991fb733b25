//! Minutes of mixed traffic over endpoints that fail at random, while the proxy is reloaded and commanded.
//! Everything follows from a seed, which is printed. `tests/soak/run --help` says how it is run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod answers;
mod client;
mod ledger;
mod process;
mod schedule;
#[path = "../support/mod.rs"]
mod support;
mod upstream;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tokio::task::JoinSet;

use client::{Clients, Told};
use ledger::{Changes, FIRST_BYTE_WITHIN, World};
use process::{Control, Holdings};
use schedule::{Change, ROLES, Schedule, Source};
use support::proxy::Home;
use support::{Cluster, Endpoint, Qcc};
use upstream::{Fault, Upstream};

/// What the allocator may keep for itself at the end more than at first, though it is told (`mallopt(3)`) to
/// return what it can.
const RSS_MARGIN_KIB: u64 = 16 * 1024;
/// The same for each connection that was open at once beyond the most of the first half: their buffers lie
/// between others.
const RSS_MARGIN_OF_CONNECTION_KIB: u64 = 64;
/// Faults have ended: the longest that any endpoint may take to be back, its longest cooldown included.
const RECOVERY_LIMIT: Duration = Duration::from_secs(75);
/// How long connections may take to be closed after their peers have gone.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
/// Requests after the recovery, each of which must be answered well.
const VOLLEY: usize = 60;
const WATCH_EVERY: Duration = Duration::from_millis(100);
const TOKEN: &str = "client-token-canary-8Hq2ZtVw";

struct Soak {
    /// Requests beside the schedule: how many there are depends on how long a recovery takes.
    extra: Source,
    rate_per_s: f64,
    world: Arc<World>,
    clients: Arc<Clients>,
    upstreams: Arc<Vec<Upstream>>,
    control: Arc<Control>,
    qcc: Arc<Qcc>,
    cluster: Cluster,
    canaries: Vec<String>,
    changes: Arc<Mutex<Changes>>,
    requests: usize,
    peak: Arc<Mutex<Holdings>>,
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/soak/run"]
async fn nothing_leaks_or_is_lost_under_faults_at_random() {
    let seconds: f64 = setting("QCC_SOAK_SECONDS", 120.0);
    let rate_per_s: f64 = setting("QCC_SOAK_RATE", 100.0);
    let seed: u64 = setting("QCC_SOAK_SEED", Rng::new().u64(..1_000_000));
    let replay = format!("tests/soak/run --seconds {seconds} --rate {rate_per_s} --seed {seed}");
    println!("soak: {replay}");
    let mut soak = Soak::start(seed, rate_per_s);
    let mut source = Source::new(seed, 1);
    let [first, second] = [1.0, 3.0]
        .map(|quarters| source.troubled(Duration::from_secs_f64(seconds / 4.0 * quarters), rate_per_s));
    let begun = Instant::now();

    soak.troubled(first).await;
    let recovery = soak.recovered().await;
    let baseline = soak.settled(None).await;
    let loaded = *soak.peak.lock().unwrap();
    soak.troubled(second).await;
    let recovery = recovery.max(soak.recovered().await);
    let end = soak.settled(Some((baseline, loaded))).await;

    soak.world.check_repetitions();
    soak.world.check_out_of_service(&soak.changes.lock().unwrap());
    soak.look_for_canaries("the log", &soak.qcc.stderr());
    soak.end();
    soak.summarise(begun.elapsed(), recovery, baseline, end, loaded);
    let violations = soak.world.violations();
    assert!(
        violations.is_empty(),
        "{} violations; the first: {}\nagain with {replay}",
        violations.len(),
        violations[0]
    );
}

impl Soak {
    fn start(seed: u64, rate_per_s: f64) -> Self {
        let world = Arc::<World>::default();
        let mut rng = Rng::with_seed(seed);
        let mut core = || (0..20).map(|_| rng.alphanumeric()).collect::<String>();
        let keys: Vec<String> = ROLES.iter().map(|role| format!("sk-{}-{}", role.name, core())).collect();
        let upstreams: Vec<Upstream> =
            (0..ROLES.len()).map(|number| Upstream::start(number, seed, &keys, TOKEN, &world)).collect();
        let cluster = cluster(&upstreams, &keys);
        let environment =
            [("QCC_LOG", "trace"), ("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let qcc = Home::new(&cluster).with(environment).start();
        let control = Control::at(&qcc.home().socket_path());
        let clients = Clients::new(qcc.address().parse().unwrap(), TOKEN, &world);
        Self {
            extra: Source::new(seed ^ 1, 1 << 32),
            rate_per_s,
            world,
            clients: Arc::new(clients),
            upstreams: Arc::new(upstreams),
            control: Arc::new(control),
            qcc: Arc::new(qcc),
            cluster,
            canaries: keys.into_iter().chain([TOKEN.to_owned()]).collect(),
            changes: Arc::default(),
            requests: 0,
            peak: Arc::default(),
        }
    }

    /// Arrivals by the clock, whatever becomes of those before, while the faults come and go.
    async fn troubled(&mut self, schedule: Schedule) {
        let Schedule { orders, changes } = schedule;
        let start = tokio::time::Instant::now();
        let changing = tokio::spawn(self.changer().run(start, changes));
        let watching = self.watch();
        let mut asking = JoinSet::new();
        self.requests += orders.len();
        for (at, order) in orders {
            tokio::time::sleep_until(start + at).await;
            self.world.lagged(start.elapsed().saturating_sub(at));
            let clients = self.clients.clone();
            asking.spawn(async move { clients.ask(order).await });
            while asking.try_join_next().is_some() {}
        }
        changing.await.expect("the changes are made");
        self.finish(asking).await;
        watching.abort();
        self.look().await;
    }

    async fn finish(&self, mut asking: JoinSet<Option<Told>>) {
        while let Some(asked) = asking.join_next().await {
            if let Err(panic) = asked {
                self.world.violation(format!("a client could not read its answer: {panic}"));
            }
        }
    }

    fn changer(&self) -> Changer {
        Changer {
            world: self.world.clone(),
            upstreams: self.upstreams.clone(),
            control: self.control.clone(),
            qcc: self.qcc.clone(),
            cluster: self.cluster.clone(),
            reloads: 0,
        }
    }

    /// The faults have ended: with some traffic every endpoint comes back, and then all is answered well.
    async fn recovered(&mut self) -> Duration {
        let begun = Instant::now();
        let mut changer = self.changer();
        for endpoint in 0..ROLES.len() {
            changer.make(Change::Fault(endpoint, Fault::None)).await;
            changer.make(Change::Command("enable", endpoint)).await;
        }
        let mut asking = JoinSet::new();
        let recovery = loop {
            let status = self.look().await;
            if status["usable"] == ROLES.len() && all_healthy(&status) {
                break begun.elapsed();
            }
            if begun.elapsed() > RECOVERY_LIMIT {
                self.world.violation(format!("not all are back after {RECOVERY_LIMIT:?}: {status:#}"));
                break begun.elapsed();
            }
            let (clients, order) = (self.clients.clone(), self.extra.patient_order());
            self.requests += 1;
            asking.spawn(async move { clients.ask(order).await });
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.finish(asking).await;
        for _ in 0..VOLLEY {
            let order = self.extra.patient_order();
            self.requests += 1;
            let told = self.clients.ask(order.clone()).await;
            if told != Some(Told::Complete) {
                self.world.violation(format!("all endpoints are well, and {order:?} was told {told:?}"));
            }
        }
        recovery
    }

    /// Nothing runs any more: what the program holds then. As it closes what its peers have closed, the least
    /// of some moments counts: checks come and go. `first` is what it held at first, and at most until then.
    async fn settled(&mut self, first: Option<(Holdings, Holdings)>) -> Holdings {
        self.clients.hang_up();
        let limit = first.map(|(idle, loaded)| {
            let beyond = self.peak.lock().unwrap().descriptors.saturating_sub(loaded.descriptors) as u64;
            let margin_kib = RSS_MARGIN_KIB + beyond * RSS_MARGIN_OF_CONNECTION_KIB;
            Holdings { rss_kib: idle.rss_kib + margin_kib, ..idle }
        });
        let begun = Instant::now();
        let mut least = Holdings { rss_kib: u64::MAX, descriptors: usize::MAX };
        let mut connections = usize::MAX;
        loop {
            self.upstreams.iter().for_each(Upstream::close_idle);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = Holdings::of(self.qcc.pid());
            least = Holdings {
                rss_kib: least.rss_kib.min(now.rss_kib),
                descriptors: least.descriptors.min(now.descriptors),
            };
            connections = connections.min(self.world.connections());
            let is_down = limit
                .is_none_or(|limit| least.descriptors <= limit.descriptors && least.rss_kib <= limit.rss_kib);
            let is_over = begun.elapsed() > CLOSING_LIMIT;
            if is_over || (connections == 0 && is_down && begun.elapsed() > Duration::from_secs(2)) {
                break;
            }
        }
        if connections > 0 {
            self.world.violation(format!("{connections} upstream connections are open and nothing runs"));
        }
        self.world.check_cancelling();
        if let Some(limit) = limit {
            if least.descriptors > limit.descriptors {
                let text =
                    format!("{} descriptors at the end, {} at first", least.descriptors, limit.descriptors);
                self.world.violation(text);
            }
            if least.rss_kib > limit.rss_kib {
                let text = format!("{} KiB at the end, {} allowed", least.rss_kib, limit.rss_kib);
                self.world.violation(text);
            }
        }
        least
    }

    /// Everything that the proxy shows, looked through; the status.
    async fn look(&self) -> Value {
        let mut status = Value::Null;
        for target in ["/status", "/metrics", "/events"] {
            match self.control.ask("GET", target).await {
                Ok((200, body)) => {
                    self.look_for_canaries(target, &body);
                    match target {
                        "/status" => status = serde_json::from_str(&body).unwrap(),
                        "/events" => note_changes(&self.changes, &body),
                        _ => {}
                    }
                }
                other => self.world.violation(format!("GET {target} on the control socket: {other:?}")),
            }
        }
        status
    }

    fn look_for_canaries(&self, place: &str, text: &str) {
        for canary in &self.canaries {
            // Its random end is enough to find it by, whatever stands before it.
            let end = canary.rsplit('-').next().unwrap_or(canary);
            if let Some(at) = text.find(end) {
                let line = text[..at].rsplit('\n').next().unwrap_or("");
                self.world.violation(format!("a secret stands in {place} after {line:?}"));
            }
        }
    }

    fn watch(&self) -> tokio::task::JoinHandle<()> {
        let (world, control, changes) = (self.world.clone(), self.control.clone(), self.changes.clone());
        let (pid, peak) = (self.qcc.pid(), self.peak.clone());
        tokio::spawn(async move {
            loop {
                let now = Holdings::of(pid);
                {
                    let mut peak = peak.lock().unwrap();
                    peak.rss_kib = peak.rss_kib.max(now.rss_kib);
                    peak.descriptors = peak.descriptors.max(now.descriptors);
                }
                if let Ok((200, events)) = control.ask("GET", "/events").await {
                    note_changes(&changes, &events);
                }
                let asleep = Instant::now();
                tokio::time::sleep(WATCH_EVERY).await;
                world.lagged(asleep.elapsed().saturating_sub(WATCH_EVERY));
            }
        })
    }

    fn end(&mut self) {
        self.qcc.sigterm();
        let code = Arc::get_mut(&mut self.qcc).expect("nobody else holds the proxy").wait();
        if code != Some(0) {
            self.world.violation(format!("the proxy ended with {code:?}"));
        }
    }

    fn summarise(
        &self,
        took: Duration,
        recovery: Duration,
        baseline: Holdings,
        end: Holdings,
        loaded: Holdings,
    ) {
        let times = self.clients.times();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
        let taken = self.world.taken_in_all();
        println!("took          {took:.1?}, recovery of all endpoints at most {recovery:.1?}");
        println!(
            "requests      {} at {} a second (the machine up to {:.0?} late), {taken} taken by endpoints",
            self.requests,
            self.rate_per_s,
            self.world.lag_max()
        );
        println!("clients told  {}", self.world.counts("told "));
        println!("faults met    {}", self.world.counts("met "));
        println!("done to it    {}", self.world.counts("did "));
        println!("changes       {} of state", self.changes.lock().unwrap().len());
        println!("time to head  p50 {:.1?}, p99 {:.1?} of those complete", at(0.5), at(0.99));
        println!("cancelled     {:.0?} at most after the client left", self.world.worst_cancel());
        let peak = *self.peak.lock().unwrap();
        println!(
            "memory        {} KiB idle at first, {} at the end; {} and {} at most under load",
            baseline.rss_kib, end.rss_kib, loaded.rss_kib, peak.rss_kib
        );
        println!(
            "descriptors   {} idle at first, {} at the end; {} and {} at most under load",
            baseline.descriptors, end.descriptors, loaded.descriptors, peak.descriptors
        );
        println!("violations    {}", self.world.violations().len());
    }
}

fn all_healthy(status: &Value) -> bool {
    status["endpoints"]
        .as_array()
        .is_some_and(|all| all.iter().all(|endpoint| endpoint["state"] == "healthy"))
}

fn note_changes(changes: &Mutex<Changes>, events: &str) {
    let events: Vec<Value> = serde_json::from_str(events).unwrap();
    let mut changes = changes.lock().unwrap();
    for event in events {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let at: jiff::Timestamp = text("time").parse().unwrap();
        let epoch = event["epoch"].as_u64().unwrap();
        changes.insert((text("endpoint"), at.into(), epoch), text("to"));
    }
}

/// Limits short enough for every one of them to be met.
fn cluster(upstreams: &[Upstream], keys: &[String]) -> Cluster {
    let cluster = Cluster::new("work")
        .line(&format!("client_tokens = ['{TOKEN}']"))
        .line("queue_timeout = '1s'")
        .line("commit_after = '300ms'")
        .line("session_ttl = '2s'")
        .health("backoff_base = '200ms'")
        .health("backoff_max = '1s'")
        .health("auth_backoff_base = '300ms'")
        .health("auth_backoff_max = '1s'")
        .health("quota_backoff = '1s'")
        .health("check_interval = '1s'")
        .health("check_timeout = '1s'")
        .health("slow_start = '500ms'")
        .timeouts("connect = '1s'")
        .timeouts(&format!("first_byte = '{}ms'", FIRST_BYTE_WITHIN.as_millis()))
        .timeouts("answer = '4s'")
        .timeouts("idle = '1s'")
        // Connections of clients are kept for the next request, however long that takes to come.
        .timeouts("client_header = '10m'");
    ROLES.iter().zip(upstreams).zip(keys).fold(cluster, |cluster, ((role, upstream), key)| {
        let endpoint = Endpoint::at(role.name, &upstream.url()).key(key).priority(role.tier);
        let endpoint = if role.name.starts_with('o') { endpoint.openai() } else { endpoint };
        cluster.endpoint(if role.is_per_token { endpoint } else { endpoint.per_request() })
    })
}

/// Does to the cluster what the schedule says.
struct Changer {
    world: Arc<World>,
    upstreams: Arc<Vec<Upstream>>,
    control: Arc<Control>,
    qcc: Arc<Qcc>,
    cluster: Cluster,
    reloads: usize,
}

impl Changer {
    async fn run(mut self, start: tokio::time::Instant, changes: Vec<(Duration, Change)>) {
        for (at, change) in changes {
            tokio::time::sleep_until(start + at).await;
            self.make(change).await;
        }
    }

    async fn make(&mut self, change: Change) {
        match change {
            Change::Fault(endpoint, fault) => self.upstreams[endpoint].set(fault),
            Change::CloseIdle(endpoint) => {
                self.world.count("did close idle connections");
                self.upstreams[endpoint].close_idle();
            }
            Change::Reload => {
                self.reloads += 1;
                self.world.count("did reload");
                let mut cluster = self.cluster.clone();
                let (number, weight) = (self.reloads % ROLES.len(), 50 + self.reloads % 50);
                let endpoint = cluster.endpoints[number].clone();
                cluster.endpoints[number] = endpoint.line(&format!("weight = {weight}"));
                self.qcc.home().write_config(&cluster.render());
                let pid = rustix::process::Pid::from_raw(self.qcc.pid() as i32).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
            }
            Change::Command(command, endpoint) => {
                self.world.count(format!("did {command}"));
                let target = format!("/endpoints/{}/{command}", ROLES[endpoint].name);
                match self.control.ask("POST", &target).await {
                    // A recheck of what is taken out of use.
                    Ok((200 | 409, _)) => {}
                    other => self.world.violation(format!("POST {target}: {other:?}")),
                }
            }
        }
    }
}
