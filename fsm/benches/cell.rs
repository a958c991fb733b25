//! What the cell costs, beside the same word and the same transition function behind a lock.
//!
//! `cargo bench -p qcc-fsm`. A figure of two threads is the wall time in which each of them does the
//! thing once. "Admit + pass" looks twice and writes nothing; "fail, then pass" is two exchanges, each
//! of which writes.

use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use qcc_fsm::*;

const NOW: Tick = Tick::from_secs(1_000);
const PASS: Verdict = Verdict::Pass(Evidence::Traffic);
const FAIL: Verdict = Verdict::Fail(Failure::new(Cause::Server, CheckMethod::Chat));

/// The cell, and what else it could have been.
trait Health: Default + Send + Sync + 'static {
    const NAME: &'static str;
    fn is_available(&self) -> bool;
    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool;
}

impl Health for HealthCell {
    const NAME: &'static str = "cell";

    fn is_available(&self) -> bool {
        self.load().is_available()
    }

    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool {
        let Some(mut ticket) = self.admit(NOW) else { return false };
        self.report(&mut ticket, verdict, NOW, policy) == Outcome::Stays
    }
}

#[derive(Default)]
struct Locked(Mutex<Word>);

impl Locked {
    fn lock(&self) -> MutexGuard<'_, Word> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health for Locked {
    const NAME: &'static str = "mutex";

    fn is_available(&self) -> bool {
        self.lock().decode().is_available()
    }

    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool {
        let Some(event) = admitted(*self.lock(), verdict) else { return false };
        let mut word = self.lock();
        *word = next(*word, &event, NOW, policy);
        true
    }
}

/// A writer looks under the shared lock first, whether there is anything to write.
#[derive(Default)]
struct ReadLocked(RwLock<Word>);

impl ReadLocked {
    fn read(&self) -> Word {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health for ReadLocked {
    const NAME: &'static str = "rwlock";

    fn is_available(&self) -> bool {
        self.read().decode().is_available()
    }

    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool {
        let Some(event) = admitted(self.read(), verdict) else { return false };
        let seen = self.read();
        if next(seen, &event, NOW, policy) != seen {
            let mut word = self.0.write().unwrap_or_else(PoisonError::into_inner);
            *word = next(*word, &event, NOW, policy);
        }
        true
    }
}

#[derive(Default)]
struct Swapped(ArcSwap<Word>);

impl Health for Swapped {
    const NAME: &'static str = "arc-swap";

    fn is_available(&self) -> bool {
        self.0.load().decode().is_available()
    }

    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool {
        let Some(event) = admitted(**self.0.load(), verdict) else { return false };
        let seen = **self.0.load();
        if next(seen, &event, NOW, policy) != seen {
            self.0.rcu(|word| next(**word, &event, NOW, policy));
        }
        true
    }
}

fn admitted(word: Word, verdict: Verdict) -> Option<Event> {
    let word = word.decode();
    word.is_available().then(|| Event::Verdict { stamp: Stamp::new(word.epoch, NOW), verdict })
}

fn policy() -> Policy {
    Policy::new(Billing::PerToken).with_failure_threshold(15)
}

fn healthy<H: Health>() -> H {
    let health = H::default();
    health.exchange(PASS, &policy());
    health
}

fn one_thread<H: Health>(c: &mut Criterion) {
    let health: H = healthy();
    c.bench_function(&format!("decide/{}", H::NAME), |b| b.iter(|| black_box(&health).is_available()));
    c.bench_function(&format!("admit + pass/{}", H::NAME), |b| {
        let policy = policy();
        b.iter(|| black_box(&health).exchange(PASS, black_box(&policy)));
    });
    c.bench_function(&format!("fail, then pass/{}", H::NAME), |b| {
        let policy = policy();
        b.iter(|| {
            black_box(&health).exchange(FAIL, black_box(&policy));
            black_box(&health).exchange(PASS, black_box(&policy))
        });
    });
}

fn two_threads<H: Health>(c: &mut Criterion) {
    c.bench_function(&format!("2 threads: decide/{}", H::NAME), |b| {
        b.iter_custom(|n| on_two_threads(n, |health: &H, _| health.is_available()));
    });
    c.bench_function(&format!("2 threads: admit + pass/{}", H::NAME), |b| {
        b.iter_custom(|n| on_two_threads(n, |health: &H, policy| health.exchange(PASS, policy)));
    });
    // A pass after each failure keeps it in service, and keeps nearly every report a write.
    c.bench_function(&format!("2 threads: fail, then pass/{}", H::NAME), |b| {
        b.iter_custom(|n| {
            on_two_threads(n, |health: &H, policy| {
                black_box(health.exchange(FAIL, policy));
                health.exchange(PASS, policy)
            })
        });
    });
}

/// How long it takes until both threads have done `act` so many times.
fn on_two_threads<H: Health>(times: u64, act: impl Fn(&H, &Policy) -> bool + Sync) -> Duration {
    let health: Arc<H> = Arc::new(healthy());
    let (start, policy) = (Barrier::new(2), policy());
    let run = || {
        start.wait();
        let began = Instant::now();
        for _ in 0..times {
            black_box(act(black_box(&health), black_box(&policy)));
        }
        (began, Instant::now())
    };
    let spans = std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let mine = run();
        [Some(mine), other.join().ok()]
    });
    let began = spans.iter().flatten().map(|span| span.0).min();
    let ended = spans.iter().flatten().map(|span| span.1).max();
    began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began)
}

fn all(c: &mut Criterion) {
    one_thread::<HealthCell>(c);
    one_thread::<Locked>(c);
    one_thread::<ReadLocked>(c);
    one_thread::<Swapped>(c);
    two_threads::<HealthCell>(c);
    two_threads::<Locked>(c);
    two_threads::<ReadLocked>(c);
    two_threads::<Swapped>(c);
}

criterion_group! {
    name = cell;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .sample_size(20);
    targets = all
}
criterion_main!(cell);
