//! The models that an endpoint has said it does not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use qcc_fsm::{Tick, Ticks};

/// How long an endpoint is not asked for a model again.
const SKIPPED_FOR: Ticks = Ticks::from_secs(5 * 60);
/// How many models of an endpoint are kept in mind; of more, those that said so last.
const MODELS_MAX: usize = 64;
/// A longer name is none that an upstream would know, and is not kept.
const NAME_BYTES_MAX: usize = 256;

/// A bounded table of models and the moments until which they are skipped.
#[derive(Default)]
pub struct SkippedModels {
    /// The last of those moments. Relaxed: it only spares a look into the table, and a request that
    /// misses a model just added asks for it once more.
    until: AtomicU64,
    /// In the order in which they end. Replaced whole, so that choosing reads it without a lock.
    models: ArcSwap<Vec<Skipped>>,
}

#[derive(Clone)]
struct Skipped {
    model: Arc<str>,
    until: Tick,
}

impl SkippedModels {
    /// Skips a model for 5 minutes from now on. Returns whether it was not skipped before.
    pub fn skip(&self, model: &str, now: Tick) -> bool {
        if model.len() > NAME_BYTES_MAX {
            return false;
        }
        let until = now + SKIPPED_FOR;
        let latest = Skipped { model: model.into(), until };
        let before = self.models.rcu(|models| {
            let others = models.iter().filter(|skipped| now < skipped.until && *skipped.model != *model);
            let mut kept: Vec<_> = others.cloned().collect();
            kept.drain(..(kept.len() + 1).saturating_sub(MODELS_MAX));
            kept.push(latest.clone());
            kept
        });
        self.until.store(until.0, Ordering::Relaxed);
        !holds(&before, model, now)
    }

    /// Whether it is skipped now: one relaxed load while nothing is.
    pub fn contains(&self, model: &str, now: Tick) -> bool {
        now < Tick(self.until.load(Ordering::Relaxed)) && holds(&self.models.load(), model, now)
    }

    /// Forgets them all: an operator's reset.
    pub fn clear(&self) {
        self.models.store(Arc::default());
    }
}

fn holds(models: &[Skipped], model: &str, now: Tick) -> bool {
    models.iter().any(|skipped| now < skipped.until && *skipped.model == *model)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_secs(1_000);

    #[test]
    fn a_model_is_skipped_for_five_minutes_and_no_other_with_it() {
        let skipped = SkippedModels::default();
        assert!(skipped.skip("x", NOW) && !skipped.skip("x", NOW));
        assert!(skipped.contains("x", NOW) && !skipped.contains("y", NOW));
        assert!(skipped.contains("x", NOW + Ticks::from_secs(299)));
        assert!(!skipped.contains("x", NOW + Ticks::from_secs(300)));
    }

    #[test]
    fn one_that_ends_is_not_kept_by_one_that_came_later() {
        let skipped = SkippedModels::default();
        skipped.skip("x", NOW);
        skipped.skip("y", NOW + Ticks::from_secs(200));
        let later = NOW + Ticks::from_secs(301);
        assert!(!skipped.contains("x", later) && skipped.contains("y", later));
    }

    #[test]
    fn a_reset_forgets_them() {
        let skipped = SkippedModels::default();
        skipped.skip("x", NOW);
        skipped.clear();
        assert!(!skipped.contains("x", NOW));
    }

    #[test]
    fn the_table_is_bounded_in_length_and_in_its_names() {
        let skipped = SkippedModels::default();
        for number in 0..1_000 {
            skipped.skip(&format!("m{number}"), NOW);
        }
        skipped.skip(&"x".repeat(NAME_BYTES_MAX + 1), NOW);
        assert_eq!(skipped.models.load().len(), MODELS_MAX);
        assert!(skipped.contains("m999", NOW) && !skipped.contains("m0", NOW));
    }
}
