//! What an exchange with an upstream means: the one room that looks at a status code, an error or an
//! event to judge an endpoint by it. The rules are the table "How an outcome counts" of the wire facts.

mod answer;
mod call;
mod coding;
mod cooling;
mod document;
mod error_text;
mod facts;
mod json;
mod judge;
mod late_type;
mod limits;
mod names;
mod renaming;
mod session;
mod sse;
mod stream;

pub use answer::{Shape, shape_of_answer};
pub use call::Call;
pub use coding::{Beginning, INSPECTED_BYTES_MAX};
pub use cooling::{Cooling, apply_cooldown};
pub use document::DocumentWatch;
pub use error_text::ErrorText;
pub use facts::RequestFacts;
pub use json::TopLevel;
pub use judge::{
    ByHead, Head, Judgement, Repeat, WORDS_WITHIN, failed_connect, judge_error_after_content,
    judge_error_body, judge_error_event, judge_lost, judge_timeout, judge_unconnected,
};
pub use renaming::with_model;
pub use session::SessionClues;
pub use sse::{Event, Splitter};
pub use stream::{Progress, StreamWatch};
