//! What people and scripts see of a running proxy, and what they may tell it.

mod control;
mod events;
mod metrics;
mod routes;
mod status;

pub use control::{ControlError, ControlSocket, serve_control, serve_tcp};
pub use routes::Admin;
pub use status::{CheckCounts, ClientStatus, EndpointStatus, StatusDocument};
