use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use qcc_fsm::{AdminCommand, Ticks};

use super::*;
use crate::clock::Clock;
use crate::cluster::{Choice, Cluster, Roster, Session, SessionKey, Wanted};
use crate::config::{ClusterSettings, Environment, parse_str};
use crate::upstream::{Network, Tcp};

fn settings(endpoints: usize) -> ClusterSettings {
    let endpoint = |index| {
        format!(
            "[[clusters.c.endpoints]]\nname = 'e{index}'\nbase_url = 'http://127.0.0.1:1'\napi_key = 'k{index}'\n"
        )
    };
    let text: String = (0..endpoints).map(endpoint).collect();
    parse_str(&text, "c.toml".as_ref(), &Environment::closed([])).unwrap().clusters["c"].clone()
}

fn cluster(endpoints: usize) -> Arc<Cluster> {
    Cluster::new(settings(endpoints), Clock::start()).unwrap()
}

fn wanted(session: Option<u64>) -> Wanted<'static> {
    let ttl = Ticks::from_secs(300);
    Wanted {
        protocol: Protocol::Anthropic,
        model: None,
        can_be_trial: true,
        session: session.map(|key| Session { key: SessionKey(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)), ttl }),
        patience: Duration::from_secs(60),
    }
}

fn chosen(cluster: &Arc<Cluster>, wanted: &Wanted<'_>) -> Option<String> {
    match cluster.choose(wanted, &[], cluster.clock.now()) {
        Choice::Go(attempt) => Some(attempt.endpoint().name().to_owned()),
        Choice::Wait { .. } | Choice::Nothing => None,
    }
}

/// The names of those that are listed as up.
fn listed(cluster: &Cluster) -> Vec<String> {
    let roster = cluster.roster();
    let names = |kind: &Kind| -> Vec<_> {
        kind.up.load().seats.iter().map(|seat| kind.at(*seat).name().to_owned()).collect()
    };
    let mut all: Vec<_> = roster.kinds().flat_map(names).collect();
    all.sort();
    all
}

/// The names of those that are up.
fn up(cluster: &Cluster) -> Vec<String> {
    let roster = cluster.roster();
    let up = roster.endpoints().iter().filter(|endpoint| endpoint.health().is_available());
    let mut all: Vec<_> = up.map(|endpoint| endpoint.name().to_owned()).collect();
    all.sort();
    all
}

/// Moves the word and tells nobody, as somebody does who is between the two.
fn move_unseen(endpoint: &Endpoint, command: AdminCommand) {
    let _ = endpoint.vitals.cell.command(command, qcc_fsm::Tick(1), &endpoint.policy);
}

#[tokio::test]
async fn an_endpoint_that_is_on_no_list_is_found_where_there_is_no_other() {
    for endpoints in [1, 3, 70] {
        let cluster = cluster(endpoints);
        cluster.roster().kinds().for_each(Kind::unlist_all);
        for session in [None, Some(7)] {
            assert!(chosen(&cluster, &wanted(session)).is_some(), "of {endpoints}, session {session:?}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_listed_and_down_is_not_chosen() {
    for endpoints in [2, 70] {
        let cluster = cluster(endpoints);
        for endpoint in &cluster.roster().endpoints()[1..] {
            move_unseen(endpoint, AdminCommand::Disable);
        }
        for session in (0..50).map(Some).chain([None; 50]) {
            assert_eq!(chosen(&cluster, &wanted(session)).as_deref(), Some("e0"));
        }
        move_unseen(&cluster.roster().endpoints()[0], AdminCommand::Disable);
        assert_eq!(chosen(&cluster, &wanted(Some(1))).or(chosen(&cluster, &wanted(None))), None);
    }
}

#[tokio::test]
async fn who_lists_an_earlier_move_late_lists_what_the_word_says_by_then() {
    let cluster = cluster(3);
    let endpoint = cluster.roster().endpoints()[1].clone();
    move_unseen(&endpoint, AdminCommand::Disable);
    cluster.command(&endpoint, AdminCommand::Enable);
    cluster.relist(&endpoint);
    assert_eq!(listed(&cluster), ["e0", "e1", "e2"]);
}

#[tokio::test]
async fn a_state_that_moves_during_a_reload_is_listed_in_the_new_roster() {
    let cluster = cluster(3);
    let network: Arc<dyn Network> = Arc::new(Tcp);
    let old = cluster.roster().endpoints()[1].clone();
    let roster = Roster::build(&settings(4), &network, cluster.clock, Some(&cluster.roster())).unwrap();
    cluster.command(&old, AdminCommand::Disable);
    cluster.take_up(Arc::new(roster));
    assert_eq!(listed(&cluster), ["e0", "e2", "e3"]);
    // A request that chose before the reload holds the endpoint as it was.
    cluster.command(&old, AdminCommand::Enable);
    assert_eq!(listed(&cluster), ["e0", "e1", "e2", "e3"]);
}

#[test]
fn after_moves_and_reloads_at_once_the_lists_are_what_the_words_are() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    for round in 0..20 {
        let cluster = cluster(8);
        std::thread::scope(|scope| {
            for mover in 0..4u64 {
                let cluster = &cluster;
                scope.spawn(move || {
                    let mut draws = fastrand::Rng::with_seed(round * 4 + mover);
                    for _ in 0..100 {
                        let endpoint = cluster.roster().endpoints()[draws.usize(..6)].clone();
                        let command = [AdminCommand::Disable, AdminCommand::Enable][draws.usize(..2)];
                        cluster.command(&endpoint, command);
                    }
                });
            }
            for endpoints in [7, 6, 8] {
                cluster.reload(settings(endpoints)).unwrap();
            }
        });
        assert_eq!(listed(&cluster), up(&cluster));
    }
}

#[tokio::test]
async fn each_that_is_up_is_drawn_as_often_wherever_the_others_are_down() {
    let cluster = cluster(100);
    for endpoint in &cluster.roster().endpoints()[..95] {
        cluster.command(endpoint, AdminCommand::Disable);
    }
    let mut counts = BTreeMap::new();
    for _ in 0..5_000 {
        *counts.entry(chosen(&cluster, &wanted(None)).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 5);
    assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[tokio::test]
async fn where_none_speaks_the_protocol_there_is_nothing_to_wait_for() {
    let cluster = cluster(70);
    let other = Wanted { protocol: Protocol::OpenAi, ..wanted(None) };
    assert!(matches!(cluster.choose(&other, &[], cluster.clock.now()), Choice::Nothing));
    assert!(cluster.roster().speaks(Protocol::Anthropic) && !cluster.roster().speaks(Protocol::OpenAi));
}

proptest! {
    #[test]
    fn a_ring_begins_at_a_point_and_goes_round_once(
        mut ids in prop::collection::vec(prop_oneof![any::<u32>(), 0..4u32, u32::MAX - 4..=u32::MAX], 0..200),
        point in prop_oneof![any::<u32>(), 0..4u32, u32::MAX - 4..=u32::MAX],
    ) {
        ids.sort_unstable();
        let seats: Vec<_> = ids.iter().zip(0..).map(|(id, index)| Seat { id: *id, index }).collect();
        let (before, after): (Vec<_>, Vec<_>) = seats.iter().partition(|seat| seat.id < point);
        let round: Vec<_> = Ring::of(seats.clone()).from(point).collect();
        prop_assert_eq!(round, [after, before].concat());
    }
}
