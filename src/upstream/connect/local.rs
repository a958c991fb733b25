//! Which failures to connect are this machine's: they say nothing of the endpoint.

use std::io;

use rustix::io::Errno;
use tokio::net::TcpSocket;

/// Whose failure it is that a connection did not come about. In the order of what it tells where several
/// addresses were tried: a shortage here hides what the others would have said, an address without a way
/// from here says less than one that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// There is no way from here to this address: no port of ours is free for it, or it is forbidden here.
    OursForThisAddress,
    /// The peer's, or the network's.
    Theirs,
    /// Descriptors or memory are used up here.
    Ours,
}

impl Whose {
    /// By the error that the system gave (connect(2), socket(2)).
    pub fn of(error: &io::Error) -> Self {
        let is = |known: &[Errno]| {
            error.raw_os_error().is_some_and(|raw| known.iter().any(|errno| errno.raw_os_error() == raw))
        };
        if is(&[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS]) {
            Self::Ours
        } else if is(&[Errno::ADDRNOTAVAIL, Errno::ACCESS, Errno::PERM]) {
            Self::OursForThisAddress
        } else {
            Self::Theirs
        }
    }

    /// By the error of a look-up. A resolver that could open no file or socket says only that it found nothing.
    pub fn of_lookup(error: &io::Error) -> Self {
        let of_a_socket = TcpSocket::new_v4().err();
        [Some(error), of_a_socket.as_ref()].into_iter().flatten().map(Self::of).max().unwrap_or(Self::Theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_or_forbidden_here_is_ours() {
        let of = |errno: Errno| Whose::of(&io::Error::from(errno));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert_eq!(of(errno), Whose::Ours, "{errno}");
        }
        for errno in [Errno::ADDRNOTAVAIL, Errno::ACCESS, Errno::PERM] {
            assert_eq!(of(errno), Whose::OursForThisAddress, "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NETUNREACH, Errno::HOSTUNREACH] {
            assert_eq!(of(errno), Whose::Theirs, "{errno}");
        }
        assert_eq!(Whose::of(&io::Error::other("no number")), Whose::Theirs);
        assert_eq!(Whose::of_lookup(&io::Error::other("no such name")), Whose::Theirs);
    }
}
