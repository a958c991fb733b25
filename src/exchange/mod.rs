//! What an exchange with an upstream means: the one room that looks at a status code, an error or an
//! event to judge an endpoint by it. The rules are the table "How an outcome counts" of the wire facts.

mod answer;
mod call;
mod cooling;
mod error_text;
mod facts;
mod json;
mod judge;
mod sse;
mod stream;

pub use answer::{Shape, shape_of_answer};
pub use call::Call;
pub use cooling::{Cooling, apply_cooldown};
pub use error_text::ErrorText;
pub use facts::RequestFacts;
pub use json::TopLevel;
pub use judge::{
    Judgement, Repeat, failed_connect, judge_error_event, judge_lost, judge_status, judge_timeout,
};
pub use sse::{Event, Splitter};
pub use stream::{Progress, StreamWatch};
