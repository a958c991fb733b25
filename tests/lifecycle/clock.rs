//! The wall clock set by ten days while the program runs: it changes nothing but the times of log lines.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::support::proxy::{Home, named};
use super::support::under::compiled;
use super::support::{Answer, Client, Cluster, Endpoint, Qcc, Upstream, eventually, llm};

/// What the system's clocks of the time of day are asked by, with an offset in seconds that a file holds.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
  char text[32] = {0};
  const char *path = getenv("QCC_TEST_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
  return result;
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec spec;
  int result = clock_gettime(CLOCK_REALTIME, &spec);
  (void)zone;
  now->tv_sec = spec.tv_sec;
  now->tv_usec = spec.tv_nsec / 1000;
  return result;
}
time_t time(time_t *into) {
  struct timespec spec;
  clock_gettime(CLOCK_REALTIME, &spec);
  if (into) *into = spec.tv_sec;
  return spec.tv_sec;
}
"#;

const TEN_DAYS_S: i64 = 10 * 24 * 60 * 60;

/// A program whose wall clock the test sets.
struct Shifted {
    qcc: Qcc,
    offset: PathBuf,
}

impl Shifted {
    /// None, and a line that says so, where there is no C compiler.
    fn start(cluster: &Cluster) -> Option<Self> {
        let home = Home::new(cluster);
        let Some(shim) = compiled(SHIM, &home.path("")) else {
            println!("SKIPPED: no C compiler, so the clock can't be set for the program alone");
            return None;
        };
        let offset = home.path("offset");
        fs::write(&offset, "0").unwrap();
        let home = home.with([
            ("LD_PRELOAD".to_owned(), shim.to_str().unwrap().to_owned()),
            ("QCC_TEST_CLOCK".to_owned(), offset.to_str().unwrap().to_owned()),
        ]);
        Some(Self { qcc: home.start(), offset })
    }

    /// Sets the clock, and awaits a log line that shows it: else nothing would be tested.
    async fn set(&self, offset_s: i64) {
        // In one step: a read in between would see an empty file.
        let new = self.offset.with_extension("new");
        fs::write(&new, offset_s.to_string()).unwrap();
        fs::rename(&new, &self.offset).unwrap();
        let shown = Timestamp::now() + SignedDuration::from_secs(offset_s);
        let day = shown.strftime("%Y-%m-%dT").to_string();
        self.qcc.sighup();
        let says = |line: &str| line.starts_with(&day) && line.contains("was reloaded");
        eventually("a log line of that day", || self.qcc.stderr().lines().any(says)).await;
    }
}

/// Two figures that the load of a request or the passing of time may change.
fn lasting(status: &Value, name: &str) -> Value {
    let mut endpoint = named(status, name).unwrap();
    endpoint["latency_ms"] = Value::Null;
    endpoint
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_days_forth_and_back_change_no_state_no_deadline_and_no_time_shown() {
    let refusing = Upstream::start(llm::on_post(llm::always(401)));
    let limited = Upstream::start(llm::on_post(|_| llm::error(429).header("retry-after", "600")));
    let well = Upstream::healthy();
    let cluster = Cluster::tiers([
        Endpoint::new("refusing", &refusing),
        Endpoint::new("limited", &limited),
        Endpoint::new("well", &well),
    ]);
    let Some(shifted) = Shifted::start(&cluster) else { return };
    let qcc = &shifted.qcc;
    let client = Client::of(qcc);
    client.ask("first").await.expect_from("well");
    let before = qcc.status();
    assert_eq!(named(&before, "refusing").unwrap()["state"], "unhealthy");
    assert!(named(&before, "limited").unwrap()["cooldown_until"].is_string());
    for (round, offset_s) in [TEN_DAYS_S, -TEN_DAYS_S, 0].into_iter().enumerate() {
        shifted.set(offset_s).await;
        let after = qcc.status();
        for name in ["refusing", "limited", "well"] {
            let mut was = lasting(&before, name);
            // Served meanwhile, as the test asked.
            if name == "well" {
                was["requests"] = lasting(&after, name)["requests"].clone();
            }
            assert_eq!(lasting(&after, name), was, "{offset_s} s");
        }
        assert_eq!(after["started_at"], before["started_at"]);
        client.ask("as ever").await.expect_from("well");
        assert_eq!((refusing.users().len(), limited.users().len(), well.users().len()), (1, 1, round + 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_comes_when_it_is_due_whatever_the_wall_clock_says() {
    for offset_s in [TEN_DAYS_S, -TEN_DAYS_S] {
        let (a, b) = (Upstream::start(llm::always(401)), Upstream::healthy());
        let cluster = Cluster::tiers([Endpoint::new("a", &a), Endpoint::new("b", &b)])
            .quick_recovery()
            .health("auth_backoff_base = '3s'")
            .health("auth_backoff_max = '3s'");
        let Some(shifted) = Shifted::start(&cluster) else { return };
        let client = Client::of(&shifted.qcc);
        client.ask("refused").await.expect_from("b");
        let since: Timestamp =
            shifted.qcc.endpoint_in("a", "unhealthy").await["since"].as_str().unwrap().parse().unwrap();
        a.set(llm::healthy);
        shifted.set(offset_s).await;
        let back = shifted.qcc.endpoint_in("a", "healthy").await;
        let back_since: Timestamp = back["since"].as_str().unwrap().parse().unwrap();
        let took = back_since.duration_since(since);
        assert!(
            took < SignedDuration::from_secs(60) && took > SignedDuration::ZERO,
            "{took:?} at {offset_s} s"
        );
        client.ask("back").await.expect_from("a");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_that_is_a_date_means_the_same_span_whatever_the_wall_clock_says() {
    const WAIT_S: i64 = 120;
    for offset_s in [TEN_DAYS_S, -TEN_DAYS_S] {
        for has_date in [true, false] {
            let http_date = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let a = Upstream::start(llm::on_post(move |_| {
                let now = Timestamp::now();
                let until = http_date(now + SignedDuration::from_secs(WAIT_S));
                let answer: Answer = llm::error(429).header("retry-after", &until);
                if has_date { answer.header("date", &http_date(now)) } else { answer }
            }));
            let Some(shifted) = Shifted::start(&Cluster::tiers([Endpoint::new("a", &a)])) else { return };
            shifted.set(offset_s).await;
            let reply = Client::of(&shifted.qcc).ask("limited").await;
            let wait_s: i64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((WAIT_S - 15..=WAIT_S + 15).contains(&wait_s), "{wait_s} s at {offset_s} s, {has_date}");
        }
    }
}
