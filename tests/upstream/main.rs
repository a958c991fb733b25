//! The way out: kept connections, TLS, HTTP/2, proxies, connections opened ahead of need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod http2;
mod idle;
mod odd;
mod proxied;
mod tls;
mod warm;

use support::proxy::Home;
use support::{Client, Cluster, Qcc, tls as certificates};

/// Started, trusting the tests' authority by its `ca_file`.
fn trusting(cluster: Cluster) -> (Qcc, Client) {
    let home = Home::new(&cluster.line("ca_file = 'ca.pem'"));
    home.write_private("ca.pem", certificates::authority_pem());
    let qcc = home.start();
    let client = Client::of(&qcc);
    (qcc, client)
}
