//! What is counted of the clients that have a token, under the names of the tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use qcc_fsm::Tick;

use crate::config::ClusterSettings;

/// The clients of a cluster in the order of the file; none where it asks for no token. All of it is for display:
/// whether a token is right is decided by the settings alone.
pub struct Clients {
    counted: ArcSwap<Vec<Arc<Client>>>,
}

struct Client {
    name: Arc<str>,
    requests: AtomicU64,
    /// The tick of the latest request; zero: never.
    last_seen: AtomicU64,
}

/// A copy of what is counted of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCount {
    /// The name of its token.
    pub name: Arc<str>,
    /// Requests that were let in.
    pub requests: u64,
    /// When the latest one came.
    pub last_seen: Option<Tick>,
}

impl Clients {
    pub(super) fn new(settings: &ClusterSettings) -> Self {
        Self { counted: ArcSwap::from_pointee(of_settings(settings, &[])) }
    }

    /// Takes up changed settings: a client whose token keeps its name keeps its counts.
    pub(super) fn take_up(&self, settings: &ClusterSettings) {
        self.counted.store(Arc::new(of_settings(settings, &self.counted.load())));
    }

    /// Counts a request. One that came in under a name which a reload took away meanwhile is not counted.
    /// Relaxed: nothing is decided by it, and of two requests within a tick either may be the latest.
    pub fn count(&self, name: &str, now: Tick) {
        if let Some(client) = self.counted.load().iter().find(|client| *client.name == *name) {
            client.requests.fetch_add(1, Ordering::Relaxed);
            client.last_seen.store(now.0, Ordering::Relaxed);
        }
    }

    /// What was counted, in the order of the file. Relaxed, as the counting.
    pub fn counts(&self) -> Vec<ClientCount> {
        let count = |client: &Arc<Client>| ClientCount {
            name: client.name.clone(),
            requests: client.requests.load(Ordering::Relaxed),
            last_seen: Some(Tick(client.last_seen.load(Ordering::Relaxed))).filter(|tick| tick.0 > 0),
        };
        self.counted.load().iter().map(count).collect()
    }
}

fn of_settings(settings: &ClusterSettings, known: &[Arc<Client>]) -> Vec<Arc<Client>> {
    let anew = |name: &Arc<str>| {
        Arc::new(Client { name: name.clone(), requests: AtomicU64::new(0), last_seen: AtomicU64::new(0) })
    };
    let names = settings.client_tokens.iter().map(|token| token.name());
    names
        .map(|name| known.iter().find(|client| client.name == *name).cloned().unwrap_or_else(|| anew(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse_str};

    fn settings(tokens: &str) -> ClusterSettings {
        let text = format!(
            "[clusters.work]\nclient_tokens = [{tokens}]\n[[clusters.work.endpoints]]\nname = 'a'\n\
             base_url = 'http://127.0.0.1:9'\napi_key = 'k'\n"
        );
        let environment = Environment::from_map([("A", "token-of-a"), ("B", "token-of-b"), ("C", "another")]);
        let settings = parse_str(&text, Path::new("f"), &environment).unwrap();
        settings.cluster(None).unwrap().clone()
    }

    fn counts(clients: &Clients) -> Vec<(String, u64, Option<u64>)> {
        let plain =
            |count: ClientCount| (count.name.to_string(), count.requests, count.last_seen.map(|at| at.0));
        clients.counts().into_iter().map(plain).collect()
    }

    #[test]
    fn a_reload_keeps_the_counts_of_a_name_and_forgets_those_of_a_name_that_is_gone() {
        let clients = Clients::new(&settings("{ name = 'ci', env = 'A' }, { name = 'ada', env = 'B' }"));
        for tick in [3, 4, 9] {
            clients.count("ci", Tick(tick));
        }
        clients.count("ada", Tick(5));
        clients.count("nobody", Tick(5));
        assert_eq!(counts(&clients), [("ci".into(), 3, Some(9)), ("ada".into(), 1, Some(5))]);
        // Another token under the same name is the same client: tokens are renewed.
        clients.take_up(&settings("{ name = 'new', env = 'B' }, { name = 'ci', env = 'C' }"));
        assert_eq!(counts(&clients), [("new".into(), 0, None), ("ci".into(), 3, Some(9))]);
        clients.take_up(&settings(""));
        assert_eq!(counts(&clients), []);
    }
}
