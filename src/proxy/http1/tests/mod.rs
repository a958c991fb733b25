mod agreed;
mod answered;
mod bodies;
mod ends;
mod naive;
mod passed;
mod refused;
mod scene;
mod served;

use std::mem;

use bytes::BytesMut;
use hyper::{Method, Version};

use super::{Framing, Head, Refusal};
use crate::chunked::Malformed;
use crate::proxy::head::RequestHead;

/// A request as one reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    target: String,
    version: Version,
    /// By name; those of one name in their order.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Seen {
    fn of(head: &RequestHead, body: Vec<u8>) -> Self {
        let shown = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
        let fields = head.fields.iter().map(|field| (shown(field.name), field.value.to_vec()));
        let mut fields: Vec<_> = fields.collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let (method, target) = (head.method.clone(), head.uri.to_string());
        Self { method, target, version: head.version, fields, body }
    }

    fn values_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| &*field.1)
    }
}

/// Reads the requests of a connection as its bytes come.
#[derive(Default)]
struct Follower {
    unread: Vec<u8>,
    place: Place,
    /// Of the last one a part of the body may be missing.
    requests: Vec<Seen>,
    stop: Option<Stop>,
}

enum Place {
    Head(Head),
    Body(Framing),
}

impl Default for Place {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

/// Why nothing is read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Head(Refusal),
    Body,
}

impl Follower {
    fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut follower = Self::default();
        pieces.into_iter().for_each(|piece| follower.follow(piece));
        follower
    }

    fn follow(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
        while self.stop.is_none() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(stop) => self.stop = Some(stop),
            }
        }
    }

    /// Whether it may go on without more bytes.
    fn step(&mut self) -> Result<bool, Stop> {
        match &mut self.place {
            Place::Head(head) => {
                let Some((length, framing)) = head.read(&self.unread).map_err(Stop::Head)? else {
                    return Ok(false);
                };
                let bytes = self.unread.drain(..length).collect::<BytesMut>();
                let request = mem::take(head).into_request(bytes).map_err(Stop::Head)?;
                self.requests.push(Seen::of(&request, Vec::new()));
                self.place = Place::Body(framing);
            }
            Place::Body(framing) if framing.is_over() => self.place = Place::default(),
            Place::Body(_) if self.unread.is_empty() => return Ok(false),
            Place::Body(framing) => {
                let body = &mut self.requests.last_mut().unwrap().body;
                let taken = framing.take(&self.unread, body).map_err(|Malformed| Stop::Body)?;
                self.unread.drain(..taken);
            }
        }
        Ok(true)
    }

    /// The requests that came to their end.
    fn whole(&self) -> &[Seen] {
        let unfinished = matches!(self.place, Place::Body(_));
        &self.requests[..self.requests.len() - usize::from(unfinished)]
    }
}

/// The pieces into which these places cut the bytes.
fn cut_at<'a>(bytes: &'a [u8], places: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}
