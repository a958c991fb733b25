//! The share of failures beside a naive list of samples.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod support;

use proptest::prelude::*;
use qcc_fsm::*;
use support::epoch;

const SPAN: Ticks = Ticks::from_secs(30);
const BUCKETS: u64 = 8;
const HALF: u32 = 500_000;

fn stamp(number: u32) -> Stamp {
    Stamp::new(epoch(number), Tick(0))
}

fn failed(cause: Cause) -> Sample {
    Sample::Failed(Failure::new(cause, CheckMethod::Chat))
}

/// Half of four at least.
fn limit() -> FailureLimit {
    FailureLimit::new(4, HALF)
}

#[test]
fn a_share_trips_once_there_are_enough_samples_whichever_comes_last() {
    for (samples, trips_at) in [
        ("pfpf", Some(4)),
        ("fpfp", Some(4)),
        ("ppppffff", Some(8)),
        ("pppfpp", None),
        ("fff", None),
        ("pppf", None),
    ] {
        let window = FailureWindow::new(SPAN);
        let tripped = samples.chars().position(|sample| {
            let sample = if sample == 'f' { failed(Cause::Server) } else { Sample::Passed };
            window.record(stamp(1), sample, Tick(5), limit()).is_some()
        });
        assert_eq!(tripped.map(|at| at + 1), trips_at, "{samples}");
    }
}

#[test]
fn it_gives_the_last_failure() {
    let window = FailureWindow::new(SPAN);
    for (at, cause) in [(0, Cause::Server), (50, Cause::Timeout), (100, Cause::Network), (100, Cause::Stream)]
    {
        assert_eq!(window.record(stamp(1), failed(cause), Tick(at), FailureLimit::new(10, HALF)), None);
    }
    let found = window.record(stamp(1), Sample::Passed, Tick(140), limit());
    assert_eq!(found, Some(Failure::new(Cause::Stream, CheckMethod::Chat)));
}

#[test]
fn a_limit_lies_in_its_ranges() {
    assert_eq!(FailureLimit::new(0, 0), FailureLimit::new(1, 1));
    assert_eq!(FailureLimit::new(u32::MAX, u32::MAX), FailureLimit::new(10_000, 1_000_000));
}

#[test]
fn samples_leave_with_their_time_and_count_for_their_epoch_only() {
    let window = FailureWindow::new(SPAN);
    // Cut into eighths of 38 ticks.
    let (begun, last) = (38 * 80, 38 * 87);
    window.record(stamp(1), failed(Cause::Server), Tick(begun), limit());
    assert_eq!(window.counts(epoch(1), Tick(last + 37)), (0, 1));
    assert_eq!(window.counts(epoch(1), Tick(last + 38)), (0, 0));
    assert_eq!(window.counts(epoch(2), Tick(begun)), (0, 0));
    // A later epoch's sample takes the bucket, and one of the epoch before comes too late for it.
    window.record(stamp(2), Sample::Passed, Tick(begun), limit());
    window.record(stamp(1), failed(Cause::Server), Tick(begun), limit());
    assert_eq!(window.counts(epoch(2), Tick(begun)), (1, 0));
    assert_eq!(window.counts(epoch(1), Tick(begun)), (0, 0));
}

#[test]
fn the_epoch_after_the_last_is_later() {
    let window = FailureWindow::new(SPAN);
    window.record(stamp(support::EPOCH_MAX), failed(Cause::Server), Tick(9), limit());
    window.record(stamp(0), Sample::Passed, Tick(9), limit());
    window.record(stamp(support::EPOCH_MAX), failed(Cause::Server), Tick(9), limit());
    assert_eq!(window.counts(epoch(0), Tick(9)), (1, 0));
}

#[test]
fn a_sample_that_comes_a_window_late_erases_nothing() {
    let window = FailureWindow::new(SPAN);
    window.record(stamp(1), Sample::Passed, Tick(38 * 88), limit());
    window.record(stamp(1), failed(Cause::Server), Tick(38 * 80), limit());
    assert_eq!(window.counts(epoch(1), Tick(38 * 88)), (1, 0));
}

#[test]
fn a_full_bucket_keeps_the_share_and_reaches_any_limit() {
    let most = FailureLimit::new(FailureLimit::MIN_SAMPLES_MAX, FailureLimit::SHARE_MAX_MILLIONTHS);
    let window = FailureWindow::new(SPAN);
    let mut tripped = false;
    for at in 0..38 * BUCKETS {
        for _ in 0..200 {
            tripped |= window.record(stamp(1), failed(Cause::Server), Tick(at), most).is_some();
        }
    }
    assert!(tripped);
    let window = FailureWindow::new(SPAN);
    for number in 0..100_000 {
        let sample = if number % 4 == 0 { failed(Cause::Server) } else { Sample::Passed };
        window.record(stamp(1), sample, Tick(1), limit());
    }
    let (passed, failed) = window.counts(epoch(1), Tick(1));
    let share = f64::from(failed) / f64::from(passed + failed);
    assert!((share - 0.25).abs() < 0.01, "{passed} passed, {failed} failed");
}

/// A lap of the shortest window is 800 ms, and the field that counts them has 15 bits.
#[test]
fn a_bucket_that_nobody_touched_is_forgotten_before_it_reads_as_new() {
    let wrap = Tick(8 << 15);
    let touched = || {
        let window = FailureWindow::new(Ticks::ONE);
        window.record(stamp(1), failed(Cause::Server), Tick(3), limit());
        window
    };
    assert_eq!(touched().counts(epoch(1), wrap + Ticks(3)), (0, 1), "so it must be forgotten in time");
    let window = touched();
    window.forget_old(Tick(10));
    assert_eq!(window.counts(epoch(1), Tick(10)), (0, 1), "within the window nothing is forgotten");
    window.forget_old(Tick(11));
    assert_eq!(window.counts(epoch(1), wrap + Ticks(3)), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_window_is_the_naive_list(
        span in 1..2_000_u32,
        start in 0..1_u64 << 40,
        steps in prop::collection::vec((0..400_u64, 0..10_u8, prop::option::of(0..7_usize)), 1..200),
        min_samples in 1..30_u32,
        share in 1..=1_000_000_u32,
    ) {
        let window = FailureWindow::new(Ticks(span));
        let bucket = u64::from(span).div_ceil(BUCKETS);
        let limit = FailureLimit::new(min_samples, share);
        let mut samples: Vec<(u64, u32, Option<Cause>)> = Vec::new();
        let (mut now, mut number) = (start, 1);
        for (wait, luck, cause) in steps {
            now += wait;
            // The endpoint went and came back; samples of before are on their way still.
            number += u32::from(luck == 0);
            let of = if luck == 1 { number.saturating_sub(1) } else { number };
            let cause = cause.map(|cause| Cause::ALL[cause]);
            let sample = cause.map_or(Sample::Passed, failed);
            let found = window.record(stamp(of), sample, Tick(now), limit);
            // In a bucket that a later epoch has begun there is no place for an older one.
            let taken = samples.iter().any(|(at, other, _)| at / bucket == now / bucket && *other > of);
            if !taken {
                samples.retain(|(at, other, _)| at / bucket != now / bucket || *other == of);
                samples.push((now, of, cause));
            }
            let within: Vec<_> = samples
                .iter()
                .filter(|(at, other, _)| *other == of && at / bucket + BUCKETS > now / bucket)
                .collect();
            let causes: Vec<_> = within.iter().filter_map(|(_, _, cause)| *cause).collect();
            let counted = (u32::try_from(within.len() - causes.len()).unwrap(), u32::try_from(causes.len()).unwrap());
            prop_assert_eq!(window.counts(epoch(of), Tick(now)), counted);
            let reached = within.len() >= min_samples as usize
                && causes.len() as u64 * 1_000_000 >= within.len() as u64 * u64::from(share);
            let expected = causes.last().filter(|_| reached).map(|cause| Failure::new(*cause, CheckMethod::Chat));
            prop_assert_eq!(found, expected);
            if luck == 2 {
                window.forget_old(Tick(now));
            }
        }
    }
}
