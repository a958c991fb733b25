//! What the cell costs, beside the same word and the same transition function behind a lock.
//!
//! `cargo bench -p qcc-fsm`. A figure of two threads is the wall time in which each of them does the
//! thing once. "Admit + pass" looks twice and writes nothing; "fail, then pass" is two exchanges, each
//! of which writes.

use std::hint::black_box;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError, RwLock};
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
    type Permit: Send;
    fn is_available(&self) -> bool;
    fn admit(&self) -> Option<Self::Permit>;
    fn report(&self, permit: Self::Permit, verdict: Verdict, policy: &Policy) -> bool;

    fn exchange(&self, verdict: Verdict, policy: &Policy) -> bool {
        self.admit().is_some_and(|permit| self.report(permit, verdict, policy))
    }
}

impl Health for HealthCell {
    const NAME: &'static str = "cell";
    type Permit = Ticket;

    fn is_available(&self) -> bool {
        self.load().is_available()
    }

    fn admit(&self) -> Option<Ticket> {
        self.admit(NOW)
    }

    fn report(&self, mut ticket: Ticket, verdict: Verdict, policy: &Policy) -> bool {
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
    type Permit = Stamp;

    fn is_available(&self) -> bool {
        self.lock().decode().is_available()
    }

    fn admit(&self) -> Option<Stamp> {
        admitted(*self.lock())
    }

    fn report(&self, stamp: Stamp, verdict: Verdict, policy: &Policy) -> bool {
        let event = Event::Verdict { stamp, verdict };
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
    type Permit = Stamp;

    fn is_available(&self) -> bool {
        self.read().decode().is_available()
    }

    fn admit(&self) -> Option<Stamp> {
        admitted(self.read())
    }

    fn report(&self, stamp: Stamp, verdict: Verdict, policy: &Policy) -> bool {
        let event = Event::Verdict { stamp, verdict };
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
    type Permit = Stamp;

    fn is_available(&self) -> bool {
        self.0.load().decode().is_available()
    }

    fn admit(&self) -> Option<Stamp> {
        admitted(**self.0.load())
    }

    fn report(&self, stamp: Stamp, verdict: Verdict, policy: &Policy) -> bool {
        let event = Event::Verdict { stamp, verdict };
        let seen = **self.0.load();
        if next(seen, &event, NOW, policy) != seen {
            self.0.rcu(|word| next(**word, &event, NOW, policy));
        }
        true
    }
}

fn admitted(word: Word) -> Option<Stamp> {
    let word = word.decode();
    word.is_available().then(|| Stamp::new(word.epoch, NOW))
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
    let none = |_: &H, _: u64| ();
    c.bench_function(&format!("2 threads: decide/{}", H::NAME), |b| {
        b.iter_custom(|n| {
            on_two_threads(n, none, |health, (), _| (0..n).for_each(|_| done(health.is_available())))
        });
    });
    c.bench_function(&format!("2 threads: admit + pass/{}", H::NAME), |b| {
        b.iter_custom(|n| {
            on_two_threads(n, none, |health, (), policy| {
                (0..n).for_each(|_| done(health.exchange(PASS, policy)));
            })
        });
    });
    // A pass after each failure keeps it in service, and keeps nearly every report a write.
    c.bench_function(&format!("2 threads: fail, then pass/{}", H::NAME), |b| {
        b.iter_custom(|n| {
            on_two_threads(n, none, |health, (), policy| {
                for _ in 0..n {
                    done(health.exchange(FAIL, policy));
                    done(health.exchange(PASS, policy));
                }
            })
        });
    });
    // Everything that is in flight fails at once: a few reports decide, the rest come too late.
    c.bench_function(&format!("2 threads: a burst of failures/{}", H::NAME), |b| {
        b.iter_custom(|n| {
            let rounds = n.div_ceil(BURST);
            let permits = |health: &H, n| (0..n).filter_map(|_| health.admit()).collect::<Vec<_>>();
            let round = |_| {
                on_two_threads(BURST, permits, |health, permits, policy| {
                    permits.into_iter().for_each(|permit| done(health.report(permit, FAIL, policy)));
                })
            };
            let spent: Duration = (0..rounds).map(round).sum();
            spent.mul_f64(n as f64 / (rounds * BURST) as f64)
        });
    });
}

/// A request's final verdict, taken into the share of failures.
fn samples(c: &mut Criterion) {
    let limit = FailureLimit::new(20, 500_000);
    let stamp = Stamp::new(Epoch::default(), NOW);
    let window = FailureWindow::new(Ticks::from_secs(30));
    c.bench_function("sample/window", |b| {
        b.iter(|| black_box(&window).record(black_box(stamp), Sample::Passed, NOW, limit));
    });
    c.bench_function("2 threads: sample/window", |b| {
        let take = |_: &HealthCell, n: u64| n;
        b.iter_custom(|n| {
            on_two_threads(n, take, |_: &HealthCell, n, _| {
                (0..n).for_each(|_| {
                    done(black_box(&window).record(stamp, Sample::Passed, NOW, limit).is_some())
                });
            })
        });
    });
}

const BURST: u64 = 50_000;

/// Keeps an answer from being optimised away.
fn done(answer: bool) {
    black_box(answer);
}

/// How long it takes until both threads have done `act`, each with what it prepared before.
fn on_two_threads<H: Health, P>(
    times: u64,
    prepare: impl Fn(&H, u64) -> P + Sync,
    act: impl Fn(&H, P, &Policy) + Sync,
) -> Duration {
    let (health, start, policy) = (healthy::<H>(), Barrier::new(2), policy());
    #[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    let run = || {
        let prepared = prepare(&health, times);
        start.wait();
        let began = Instant::now();
        act(black_box(&health), prepared, black_box(&policy));
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
    samples(c);
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
