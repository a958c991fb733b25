//! What people and scripts see of a running proxy, and what they may tell it.

mod control;
mod events;
mod metrics;
mod routes;
mod socket;
mod status;

pub use control::{serve_control, serve_tcp};
pub use routes::Admin;
pub use socket::{ControlError, ControlSocket};
pub use status::{CheckCounts, ClientStatus, EndpointStatus, StatusDocument};
