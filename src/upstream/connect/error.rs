//! Why there is no connection.

use std::time::Duration;
use std::{fmt, io};

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub enum ConnectError {
    /// The name does not resolve.
    Lookup(io::Error),
    /// No address took the connection, or there is no way from here to any.
    Refused(io::Error),
    /// The proxy of the configuration did not help.
    Proxy {
        /// `host:port`.
        proxy: String,
        /// What it did instead.
        why: ProxyFault,
    },
    /// The certificate or the handshake failed.
    Tls(io::Error),
    /// HTTP could not be set up.
    Handshake(hyper::Error),
    /// It took longer than the connect timeout.
    TimedOut(Duration),
    /// This machine can't open one: descriptors, ports or memory are used up. It says nothing of the endpoint.
    Local(io::Error),
}

/// What went wrong at a proxy.
#[derive(Debug)]
pub enum ProxyFault {
    /// Its name does not resolve.
    Lookup(io::Error),
    /// It did not take the connection.
    Refused(io::Error),
    /// It answered with this status instead of connecting.
    Answered(u16),
    /// It broke off, or said what is no answer.
    Broken(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "the host name does not resolve: {error}"),
            Self::Refused(error) => write!(f, "no connection: {error}"),
            Self::Proxy { proxy, why } => write!(f, "no connection through the proxy {proxy}: {why}"),
            Self::Tls(error) => {
                let text = error.to_string();
                write!(f, "TLS failed: {text}")?;
                match text.contains("UnknownIssuer") {
                    true => {
                        f.write_str("; name the certificate authority in ca_file if it is one of your own")
                    }
                    false => Ok(()),
                }
            }
            Self::Handshake(error) => write!(f, "the connection can't be used: {error}"),
            Self::TimedOut(limit) => write!(f, "no connection within {limit:?}"),
            Self::Local(error) => write!(f, "this machine can't open a connection: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "its name does not resolve: {error}"),
            Self::Refused(error) => write!(f, "it can't be reached: {error}"),
            // RFC 9110 §15.5.8.
            Self::Answered(407) => {
                f.write_str("it answered 407; put the user name and password that it asks for into proxy")
            }
            Self::Answered(status) => write!(f, "it answered {status}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}
