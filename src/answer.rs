//! An answer, whoever gives it to whom.

use hyper::{Response, StatusCode};

use crate::fields::Fields;

/// Its head, and its body in some form.
#[derive(Debug)]
pub struct Answer<B> {
    /// What it says first.
    pub status: StatusCode,
    /// Its header lines.
    pub fields: Fields,
    /// Its body.
    pub body: B,
}

impl<B> Answer<B> {
    /// A 200 without header lines.
    pub fn new(body: B) -> Self {
        Self { status: StatusCode::OK, fields: Fields::default(), body }
    }

    /// The same with another form of its body.
    pub fn map<T>(self, into: impl FnOnce(B) -> T) -> Answer<T> {
        Answer { status: self.status, fields: self.fields, body: into(self.body) }
    }
}

impl<B> From<Response<B>> for Answer<B> {
    fn from(response: Response<B>) -> Self {
        let fields = Fields::of_map(response.headers());
        Self { status: response.status(), fields, body: response.into_body() }
    }
}

impl<B> From<Answer<B>> for Response<B> {
    fn from(answer: Answer<B>) -> Self {
        let mut response = Self::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.fields.to_map();
        response
    }
}
