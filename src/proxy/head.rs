//! What a request says before its body.

use hyper::{Method, Request, Uri, Version};

use crate::fields::Fields;

/// The head of a request, whichever HTTP it came over.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its HTTP.
    pub version: Version,
    /// Its header lines.
    pub fields: Fields,
}

impl<B> From<&Request<B>> for RequestHead {
    fn from(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            fields: Fields::of_map(request.headers()),
        }
    }
}
