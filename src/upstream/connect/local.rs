//! Which failures to connect are this machine's: they say nothing of the endpoint.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use tokio::net::TcpSocket;

/// Whose failure it is that a connection did not come about. In the order of what it tells where several
/// addresses were tried: a shortage here hides what the others would have said, an address without a way
/// from here says less than one that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// There is no way from here to this address: this machine has no address of the kind, or it is forbidden
    /// here. It does not pass by itself, so an endpoint that has no other address is out of reach.
    NoWayFromHere,
    /// The peer's, or the network's.
    Theirs,
    /// Descriptors, ports or memory are used up here.
    Ours,
}

impl Whose {
    /// By the error that the system gave (connect(2), socket(2)), and the address that it was for.
    pub fn of(error: &io::Error, address: SocketAddr) -> Self {
        if is_any_of(error, &[Errno::ADDRNOTAVAIL]) && has_way_to(address) {
            return Self::Ours;
        }
        Self::of_socket(error)
    }

    /// By the error of a look-up. A resolver that could open no file or socket says only that it found nothing.
    pub fn of_lookup(error: &io::Error) -> Self {
        let of_a_socket = TcpSocket::new_v4().err();
        let errors = [Some(error), of_a_socket.as_ref()].into_iter().flatten();
        errors.map(Self::of_socket).max().unwrap_or(Self::Theirs)
    }

    fn of_socket(error: &io::Error) -> Self {
        if is_any_of(error, &[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS]) {
            Self::Ours
        } else if is_any_of(error, &[Errno::ADDRNOTAVAIL, Errno::ACCESS, Errno::PERM]) {
            Self::NoWayFromHere
        } else {
            Self::Theirs
        }
    }
}

fn is_any_of(error: &io::Error, known: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|raw| known.iter().any(|errno| errno.raw_os_error() == raw))
}

/// Whether this machine has an address to reach this one from. EADDRNOTAVAIL says that it has none, or that no port
/// is left to it; a UDP socket, which sends nothing when it is connected, has ports of its own.
fn has_way_to(address: SocketAddr) -> bool {
    let from: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(from).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno, address: &str) -> Whose {
        Whose::of(&io::Error::from(errno), address.parse().unwrap())
    }

    /// Link-local without a scope: no machine has a way there.
    const NO_WAY: &str = "[fe80::1]:9";

    #[test]
    fn what_is_used_up_here_is_ours() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert_eq!(of(errno, NO_WAY), Whose::Ours, "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NETUNREACH, Errno::HOSTUNREACH] {
            assert_eq!(of(errno, "127.0.0.1:9"), Whose::Theirs, "{errno}");
        }
        let unnumbered = io::Error::other("no number");
        assert_eq!(Whose::of(&unnumbered, "127.0.0.1:9".parse().unwrap()), Whose::Theirs);
        assert_eq!(Whose::of_lookup(&io::Error::other("no such name")), Whose::Theirs);
    }

    #[test]
    fn what_is_forbidden_here_for_good_is_no_shortage() {
        for errno in [Errno::ACCESS, Errno::PERM] {
            assert_eq!(of(errno, "127.0.0.1:9"), Whose::NoWayFromHere, "{errno}");
        }
    }

    #[test]
    fn without_an_address_to_give_either_ports_are_used_up_or_there_is_no_way() {
        assert_eq!(of(Errno::ADDRNOTAVAIL, "127.0.0.1:9"), Whose::Ours);
        assert_eq!(of(Errno::ADDRNOTAVAIL, NO_WAY), Whose::NoWayFromHere);
    }
}
