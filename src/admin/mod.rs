//! What people and scripts see of a running proxy, and what they may tell it.

mod status;

pub use status::{EndpointStatus, StatusDocument};
