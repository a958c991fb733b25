//! Planted faults. Each feature breaks one rule of the machine; a check of each rule must then fail,
//! which shows that the check can. None is ever on in a build that people use.

/// The loop stores its word without looking whether somebody else wrote meanwhile.
pub(crate) const STORES_BLINDLY: bool = cfg!(feature = "mutant-store");
/// The compare-exchange orders nothing.
pub(crate) const RELAXED: bool = cfg!(feature = "mutant-relaxed");
/// A verdict counts whatever epoch its ticket is of.
pub(crate) const IGNORES_EPOCH: bool = cfg!(feature = "mutant-epoch-ignored");
/// A trip counts whatever epoch its samples are of.
pub(crate) const TRIP_IGNORES_STAMP: bool = cfg!(feature = "mutant-trip-ignores-stamp");
/// A claim leaves the epoch as it is.
pub(crate) const CLAIM_KEEPS_EPOCH: bool = cfg!(feature = "mutant-claim-keeps-epoch");
/// The threshold counts only when it is met exactly.
pub(crate) const THRESHOLD_EXACT: bool = cfg!(feature = "mutant-threshold-eq");
/// A trial in flight is never taken back.
pub(crate) const NO_LEASE: bool = cfg!(feature = "mutant-no-lease");
