use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use qcc_fsm::{AdminCommand, Cause, CheckMethod, Failure, Ticks, Verdict};
use tokio::time::advance;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::clock::Clock;
use crate::cluster::{Choice, Cluster, Wanted};
use crate::config::{ClusterSettings, Environment, Protocol, parse_str};

const TTL: Duration = Duration::from_secs(300);

/// Endpoints by name, each with lines of its own.
fn settings(endpoints: &[(String, String)]) -> ClusterSettings {
    let endpoints = endpoints.iter().map(|(name, lines)| {
        format!(
            "[[clusters.c.endpoints]]\nname = '{name}'\nbase_url = 'http://127.0.0.1:1'\napi_key = \
             'key-{name}'\n{lines}\n"
        )
    });
    let text: String = endpoints.collect();
    parse_str(&text, "c.toml".as_ref(), &Environment::closed([])).unwrap().clusters["c"].clone()
}

fn cluster(endpoints: &[(&str, &str)]) -> Arc<Cluster> {
    let owned: Vec<_> = endpoints.iter().map(|(name, lines)| (name.to_string(), lines.to_string())).collect();
    Cluster::new(settings(&owned), Clock::start()).unwrap()
}

fn three() -> Arc<Cluster> {
    cluster(&[("a", ""), ("b", ""), ("c", "")])
}

fn key(number: u64) -> SessionKey {
    SessionKey(xxh3_64(&number.to_be_bytes()))
}

fn wanted(key: SessionKey) -> Wanted<'static> {
    Wanted {
        protocol: Protocol::Anthropic,
        model: None,
        can_be_trial: true,
        session: Some(Session { key, ttl: Ticks::from_duration(TTL) }),
        patience: Duration::from_secs(60),
    }
}

fn attempt(cluster: &Arc<Cluster>, wanted: &Wanted<'_>, tried: &[Arc<Endpoint>]) -> Attempt {
    match cluster.choose(wanted, tried, cluster.clock.now()) {
        Choice::Go(attempt) => attempt,
        Choice::Wait { .. } | Choice::Nothing => panic!("no endpoint"),
    }
}

/// One request of the session that is answered well: the endpoint's name.
fn serve_as(cluster: &Arc<Cluster>, wanted: &Wanted<'_>) -> String {
    let mut attempt = attempt(cluster, wanted, &[]);
    let _ = attempt.pass(Duration::from_millis(1));
    attempt.note_session_served();
    attempt.endpoint().name().to_owned()
}

fn serve(cluster: &Arc<Cluster>, key: SessionKey) -> String {
    serve_as(cluster, &wanted(key))
}

fn homes(cluster: &Arc<Cluster>, keys: impl IntoIterator<Item = u64>) -> BTreeMap<u64, String> {
    let home = |number| attempt(cluster, &wanted(key(number)), &[]).endpoint().name().to_owned();
    keys.into_iter().map(|number| (number, home(number))).collect()
}

fn named(cluster: &Cluster, name: &str) -> Arc<Endpoint> {
    cluster.roster().named(name).unwrap().clone()
}

fn command(cluster: &Cluster, name: &str, command: AdminCommand) {
    cluster.command(&named(cluster, name), command);
}

/// Takes an endpoint out of service by a refused key.
fn fail(cluster: &Arc<Cluster>, name: &str) {
    let endpoint = named(cluster, name);
    let mut check = Attempt::check(cluster, &endpoint, CheckMethod::Chat).unwrap();
    let _ = check.report(Verdict::Fail(Failure::new(Cause::Auth, CheckMethod::Chat)));
}

fn recover(cluster: &Arc<Cluster>, name: &str) {
    let endpoint = named(cluster, name);
    cluster.recheck(&endpoint);
    let mut trial = Attempt::trial_by_prober(cluster, &endpoint, Duration::from_secs(1)).unwrap();
    let _ = trial.pass(Duration::from_millis(1));
}

/// A session whose home this is.
fn at_home_in(cluster: &Arc<Cluster>, name: &str) -> SessionKey {
    let (number, _) = homes(cluster, 0..200).into_iter().find(|(_, home)| home == name).unwrap();
    key(number)
}

#[tokio::test(start_paused = true)]
async fn an_endpoints_share_of_the_sessions_follows_its_weight() {
    let weights = [("a", 100), ("b", 200), ("c", 300), ("d", 1000)];
    let lines: Vec<_> = weights.map(|(name, weight)| (name, format!("weight = {weight}"))).to_vec();
    let cluster = cluster(&lines.iter().map(|(name, line)| (*name, line.as_str())).collect::<Vec<_>>());
    let mut counts: HashMap<String, f64> = HashMap::new();
    for home in homes(&cluster, 0..20_000).into_values() {
        *counts.entry(home).or_default() += 1.0;
    }
    for (name, weight) in weights {
        let (share, expected) = (counts[name] / 20_000.0, f64::from(weight) / 1600.0);
        assert!((share - expected).abs() < 0.01, "{name}: {share} of the sessions, {expected} of the weight");
    }
}

#[tokio::test(start_paused = true)]
async fn homes_don_t_depend_on_the_order_of_the_file() {
    let one = cluster(&[("a", ""), ("b", "weight = 30"), ("c", ""), ("d", "weight = 7")]);
    let other = cluster(&[("d", "weight = 7"), ("c", ""), ("a", ""), ("b", "weight = 30")]);
    assert_eq!(homes(&one, 0..2000), homes(&other, 0..2000));
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_when_its_home_leaves_and_returns_when_it_was_idle_for_session_ttl() {
    let cluster = three();
    let session = at_home_in(&cluster, "a");
    assert_eq!(serve(&cluster, session), "a");
    command(&cluster, "a", AdminCommand::Disable);
    let refuge = serve(&cluster, session);
    assert_ne!(refuge, "a");
    command(&cluster, "a", AdminCommand::Enable);
    for _ in 0..20 {
        advance(TTL - Duration::from_secs(1)).await;
        assert_eq!(serve(&cluster, session), refuge, "each request holds it for another session_ttl");
    }
    advance(TTL + Duration::from_millis(100)).await;
    assert_eq!(serve(&cluster, session), "a");
    assert_eq!(cluster.moved.stay_of(session, cluster.clock.now()), None, "nothing is kept of one at home");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_never_moved_is_in_no_table() {
    let cluster = three();
    for number in 0..200 {
        serve(&cluster, key(number));
        assert_eq!(cluster.moved.stay_of(key(number), cluster.clock.now()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_refuge_leaves_too_moves_on_and_is_held_there() {
    let cluster = three();
    let session = at_home_in(&cluster, "a");
    fail(&cluster, "a");
    let first = serve(&cluster, session);
    fail(&cluster, &first);
    let second = serve(&cluster, session);
    recover(&cluster, "a");
    recover(&cluster, &first);
    advance(Duration::from_secs(60)).await;
    assert_eq!(serve(&cluster, session), second);
}

#[tokio::test(start_paused = true)]
async fn with_a_session_ttl_of_zero_a_session_returns_at_once() {
    let cluster = three();
    let session = at_home_in(&cluster, "a");
    let wanted = Wanted { session: Some(Session { key: session, ttl: Ticks(0) }), ..wanted(session) };
    command(&cluster, "a", AdminCommand::Disable);
    assert_ne!(serve_as(&cluster, &wanted), "a");
    command(&cluster, "a", AdminCommand::Enable);
    assert_eq!(serve_as(&cluster, &wanted), "a");
}

#[tokio::test(start_paused = true)]
async fn only_an_accepted_answer_moves_a_session() {
    let cluster = three();
    let session = at_home_in(&cluster, "a");
    let home = named(&cluster, "a");
    let elsewhere = attempt(&cluster, &wanted(session), std::slice::from_ref(&home));
    let refuge = elsewhere.endpoint().clone();
    drop(elsewhere);
    assert_eq!(attempt(&cluster, &wanted(session), &[]).endpoint().name(), "a");
    attempt(&cluster, &wanted(session), &[home]).note_session_served();
    assert_eq!(attempt(&cluster, &wanted(session), &[]).endpoint().name(), refuge.name());
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_back_is_used_whatever_moved_in_the_other() {
    let cluster = cluster(&[("a", ""), ("b", "priority = 2"), ("c", "priority = 2")]);
    let session = key(1);
    assert_eq!(serve(&cluster, session), "a");
    command(&cluster, "a", AdminCommand::Disable);
    let second = serve(&cluster, session);
    command(&cluster, &second, AdminCommand::Disable);
    assert_ne!(serve(&cluster, session), second);
    command(&cluster, "a", AdminCommand::Enable);
    assert_eq!(serve(&cluster, session), "a");
}

#[tokio::test(start_paused = true)]
async fn another_model_of_the_session_leaves_the_move_of_the_first_alone() {
    let cluster = cluster(&[
        ("a", "models = ['large']"),
        ("b", "models = ['large']"),
        ("c", "models = ['small']"),
        ("d", "models = ['small']"),
    ]);
    let of_model = |model| Wanted { model: Some(model), ..wanted(key(3)) };
    let (large, small) = (of_model("large"), of_model("small"));
    let home = serve_as(&cluster, &large);
    command(&cluster, &home, AdminCommand::Disable);
    let refuge = serve_as(&cluster, &large);
    command(&cluster, &home, AdminCommand::Enable);
    let other = serve_as(&cluster, &small);
    assert!(other == "c" || other == "d");
    assert_eq!(serve_as(&cluster, &large), refuge);
}

#[tokio::test(start_paused = true)]
async fn after_a_recovery_sessions_return_one_by_one_and_none_goes_back() {
    let cluster = three();
    let at_a: Vec<u64> =
        homes(&cluster, 0..3000).into_iter().filter(|(_, home)| home == "a").map(|(n, _)| n).collect();
    fail(&cluster, "a");
    recover(&cluster, "a");
    let mut returned = Vec::new();
    for _ in 0..=10 {
        let now: Vec<u64> =
            homes(&cluster, at_a.clone()).into_iter().filter(|(_, at)| at == "a").map(|(n, _)| n).collect();
        assert!(returned.iter().all(|number| now.contains(number)), "one that was back has gone again");
        let share = now.len() as f32 / at_a.len() as f32;
        let expected = named(&cluster, "a").vitals.share(cluster.clock.now(), Ticks::from_secs(30));
        assert!((share - expected).abs() < 0.05, "{share} of the sessions at a share of {expected}");
        returned = now;
        advance(Duration::from_secs(3)).await;
    }
    assert_eq!(returned.len(), at_a.len());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_in_its_slow_start_serves_every_session_when_it_is_alone() {
    let cluster = cluster(&[("a", ""), ("b", "enabled = false")]);
    fail(&cluster, "a");
    recover(&cluster, "a");
    assert!(homes(&cluster, 0..100).into_values().all(|home| home == "a"));
}

#[tokio::test(start_paused = true)]
async fn a_trial_is_lent_a_session_and_keeps_none() {
    let cluster = cluster(&[("a", "billing = 'per-request'"), ("b", ""), ("c", "")]);
    let session = at_home_in(&cluster, "b");
    fail(&cluster, "a");
    cluster.recheck(&named(&cluster, "a"));
    assert_eq!(serve(&cluster, session), "a", "a due trial comes first");
    assert_eq!(serve(&cluster, session), "b");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moved_is_not_drawn_home_by_its_homes_trial() {
    let cluster = cluster(&[("a", "billing = 'per-request'"), ("b", ""), ("c", "")]);
    let session = at_home_in(&cluster, "a");
    fail(&cluster, "a");
    let refuge = serve(&cluster, session);
    cluster.recheck(&named(&cluster, "a"));
    assert_eq!(serve(&cluster, session), "a", "a due trial comes first");
    advance(Duration::from_secs(60)).await;
    assert_eq!(serve(&cluster, session), refuge);
}

/// More than have a draw each.
fn many(weights: &[u32]) -> Vec<(String, String)> {
    weights.iter().enumerate().map(|(at, weight)| (format!("e{at}"), format!("weight = {weight}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn on_the_ring_no_share_of_the_sessions_is_much_above_its_weight() {
    const SESSIONS: u64 = 40_000;
    let weights: Vec<u32> = (0..100).map(|index| if index % 4 == 0 { 300 } else { 100 }).collect();
    let cluster = Cluster::new(settings(&many(&weights)), Clock::start()).unwrap();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for home in homes(&cluster, 0..SESSIONS).into_values() {
        *counts.entry(home).or_default() += 1.0;
    }
    let whole: u32 = weights.iter().sum();
    let mut heavy = 0.0;
    for (index, weight) in weights.iter().enumerate() {
        let count = counts.get(&format!("e{index}")).copied().unwrap_or_default();
        let expected = SESSIONS as f64 * f64::from(*weight) / f64::from(whole);
        assert!(count < expected * 1.3, "e{index}: {count} sessions, {expected} by its weight");
        heavy += if *weight == 300 { count } else { 0.0 };
    }
    assert!((heavy / SESSIONS as f64 - 0.5).abs() < 0.02, "{heavy} of the sessions at half of the weight");
}

#[tokio::test(start_paused = true)]
async fn on_the_ring_homes_are_the_same_after_a_restart_in_any_order_of_the_file() {
    let mut endpoints = many(&(1..=80).map(|index| index * 10).collect::<Vec<_>>());
    let before = homes(&Cluster::new(settings(&endpoints), Clock::start()).unwrap(), 0..2000);
    endpoints.reverse();
    assert_eq!(before, homes(&Cluster::new(settings(&endpoints), Clock::start()).unwrap(), 0..2000));
    let some: Vec<_> = (0..4).map(|number| before[&number].as_str()).collect();
    assert_eq!(some, HOMES_ON_THE_RING, "sessions of before an update find their prompts where they were");
}

/// Of the first sessions among those eighty, written down: they are not to change.
const HOMES_ON_THE_RING: [&str; 4] = ["e47", "e67", "e48", "e19"];

#[tokio::test(start_paused = true)]
async fn on_the_ring_a_session_moves_and_is_held_and_returns() {
    let cluster = Cluster::new(settings(&many(&[100; 80])), Clock::start()).unwrap();
    let session = key(5);
    let home = serve(&cluster, session);
    command(&cluster, &home, AdminCommand::Disable);
    let refuge = serve(&cluster, session);
    assert_ne!(refuge, home);
    command(&cluster, &home, AdminCommand::Enable);
    assert_eq!(serve(&cluster, session), refuge);
    advance(TTL + Duration::from_millis(200)).await;
    assert_eq!(serve(&cluster, session), home);
    assert_eq!(cluster.moved.stay_of(session, cluster.clock.now()), None);
}

/// When `leaver` goes only its sessions move, and when it is back all are where they were.
fn only_its_own_move(all: &[(String, String)], leaver: &str, sessions: std::ops::Range<u64>) {
    let rest: Vec<_> = all.iter().filter(|(name, _)| name != leaver).cloned().collect();
    let cluster = Cluster::new(settings(all), Clock::start()).unwrap();
    let before = homes(&cluster, sessions.clone());
    cluster.reload(settings(&rest)).unwrap();
    let without = homes(&cluster, sessions.clone());
    for (number, home) in &before {
        assert!(home == leaver || without[number] == *home, "session {number} moved from {home}");
    }
    cluster.reload(settings(all)).unwrap();
    assert_eq!(before, homes(&cluster, sessions));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn on_the_ring_the_nearest_is_the_one_that_a_look_at_each_finds(
        weights in proptest::collection::vec(1..=1000u32, 65..120),
        one_in in 1..40u32,
        seed in any::<u32>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let cluster = Cluster::new(settings(&many(&weights)), Clock::start()).unwrap();
        let roster = cluster.roster();
        for (index, endpoint) in (seed..).zip(roster.endpoints()) {
            let draw = xxh3_64(&index.to_be_bytes());
            if !draw.is_multiple_of(u64::from(one_in)) {
                cluster.command(endpoint, AdminCommand::Disable);
            } else if draw >> 32 & 3 == 0 {
                endpoint.vitals.cooldown.raise(cluster.clock.now() + Ticks(10));
            }
        }
        let tier = roster.tiers().next().unwrap();
        for number in 0..100 {
            let wanted = wanted(key(number + u64::from(seed)));
            let tried: Vec<_> = roster.endpoints()[..number as usize % 5].to_vec();
            let search = Search::new(roster.endpoints(), &wanted, &tried, cluster.clock.now());
            let serving = Serving::among(tier.kinds, wanted.protocol, wanted.model);
            let pick = |serving: Option<&Serving<'_>>| {
                match search.pick_for(wanted.session.unwrap(), &cluster.moved, tier, serving) {
                    Some(Found::Eligible(endpoint, visit)) => Some((endpoint.name().to_owned(), visit)),
                    Some(Found::Trial(_)) | None => None,
                }
            };
            prop_assert_eq!(pick(Some(&serving)), pick(None));
        }
    }

    #[test]
    fn on_the_ring_one_that_leaves_takes_only_its_sessions_and_one_that_comes_only_its_share(
        weights in proptest::collection::vec(1..=1000u32, 66..90),
        leaver in any::<proptest::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let all = many(&weights);
        let leaver = leaver.get(&all).0.clone();
        only_its_own_move(&all, &leaver, 0..1000);
    }

    #[test]
    fn one_that_leaves_takes_only_its_sessions_and_one_that_comes_only_its_share(
        weights in proptest::collection::vec(1..=1000u32, 2..9),
        seed in any::<u32>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let all: Vec<_> = weights.iter().enumerate()
            .map(|(index, weight)| (format!("e{index}-{seed}"), format!("weight = {weight}"))).collect();
        let leaver = all[seed as usize % all.len()].0.clone();
        only_its_own_move(&all, &leaver, 0..300);
    }
}
