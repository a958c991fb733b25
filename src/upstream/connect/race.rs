//! One TCP connection out of several addresses (RFC 8305, "Happy Eyeballs").

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::local::Whose;

/// How long an address has before the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no address took the connection.
#[derive(Debug)]
pub(super) struct Unreached {
    pub error: io::Error,
    pub whose: Whose,
}

/// The first connection that comes about. The addresses are tried in their order, the families in turn: the
/// next one after 250 ms, or at once when one has failed. Those that lose are closed. Of several errors it is the
/// last one that tells most, see [`Whose`].
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, Unreached> {
    let mut waiting = families_in_turn(addresses).into_iter();
    let mut running = JoinSet::new();
    let none = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let mut last = Unreached { error: none, whose: Whose::NoWayFromHere };
    loop {
        match waiting.next() {
            Some(address) => drop(running.spawn(connect_to(address))),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(done) = running.join_next() => match done {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(why)) if why.whose < last.whose => {}
                Ok(Err(why)) => last = why,
                Err(error) => last.error = io::Error::other(error),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, Unreached> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| Unreached { whose: Whose::of(&error, address), error })
}

/// The resolver's order (RFC 6724) within each family; the family of its first address begins (RFC 8305 §4).
fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let is_ipv4 = first.is_ipv4();
    let (these, those): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == is_ipv4);
    let (mut these, mut those) = (these.into_iter(), those.into_iter());
    let mut ordered = Vec::with_capacity(these.len() + those.len());
    while these.len() + those.len() > 0 {
        ordered.extend(these.next());
        ordered.extend(those.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_from_the_first_one_on() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
        assert_eq!(families_in_turn(given), addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]));
        let given = addresses(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"]);
        assert_eq!(families_in_turn(given), addresses(&["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"]));
        assert!(families_in_turn(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn after_a_refusal_the_next_address_is_tried_and_the_last_error_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert_eq!(connect(vec![closed, open]).await.unwrap().peer_addr().unwrap(), open);
        assert_eq!(connect(vec![closed]).await.unwrap_err().error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(Vec::new()).await.unwrap_err().error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_address_that_is_silent_does_not_hold_up_the_next_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // TEST-NET-1 (RFC 5737): silent, or refused at once where there is no route; either way not the one.
        let silent = "192.0.2.1:9".parse().unwrap();
        assert_eq!(connect(vec![silent, open]).await.unwrap().peer_addr().unwrap(), open);
    }
}
