//! One exchange with one endpoint: the ticket, the place in its load, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use qcc_fsm::{CheckMethod, Claim, Evidence, Outcome, Sample, Stamp, Tick, Ticket, Ticks, Verdict};

use super::home::Visit;
use super::journal::Source;
use super::{Cluster, Endpoint, Tally};

/// The permission to send one exchange to an endpoint. It reports exactly one verdict; dropped without
/// one, it reports neutral: whoever wanted the answer has gone.
pub struct Attempt {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    ticket: Ticket,
    /// What a check goes by; none for a user's request.
    check: Option<CheckMethod>,
    /// Whether it makes the endpoint work. What does not shows no more than that a key is taken there.
    makes_it_work: bool,
    pub(super) visit: Visit,
    begun: bool,
    /// The last verdict, and what it came to: counted once, a check's at once, a request's at its end.
    said: Option<(Verdict, Outcome)>,
    counted: bool,
}

impl Attempt {
    pub(super) fn of_request(
        cluster: Arc<Cluster>,
        endpoint: Arc<Endpoint>,
        ticket: Ticket,
        makes_it_work: bool,
    ) -> Self {
        endpoint.vitals.enter();
        Self {
            cluster,
            endpoint,
            ticket,
            check: None,
            makes_it_work,
            visit: Visit::Usual,
            begun: false,
            said: None,
            counted: false,
        }
    }

    pub(super) fn visiting(mut self, visit: Visit) -> Self {
        self.visit = visit;
        self
    }

    /// A check of an endpoint that is in service; none when it is not.
    pub fn check(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>, method: CheckMethod) -> Option<Self> {
        let ticket = endpoint.vitals.cell.admit(cluster.clock.now())?;
        Some(Self::of_check(cluster.clone(), endpoint.clone(), ticket, method))
    }

    /// The trial of an endpoint that is out of service, by the method in its word; none when it is not
    /// due, or somebody else has it.
    pub fn trial_by_prober(
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        lease: Duration,
    ) -> Option<Self> {
        let lease = Ticks::from_duration(lease);
        let claim = endpoint.vitals.cell.claim(
            qcc_fsm::Claimant::Prober,
            lease,
            cluster.clock.now(),
            &endpoint.policy,
        )?;
        let method = claim.change.to.method.unwrap_or(CheckMethod::Chat);
        announce_claim(cluster, endpoint, &claim, Source::Check);
        Some(Self::of_check(cluster.clone(), endpoint.clone(), claim.ticket, method))
    }

    fn of_check(cluster: Arc<Cluster>, endpoint: Arc<Endpoint>, ticket: Ticket, method: CheckMethod) -> Self {
        let makes_it_work = method == CheckMethod::Chat;
        Self {
            cluster,
            endpoint,
            ticket,
            check: Some(method),
            makes_it_work,
            visit: Visit::Usual,
            begun: false,
            said: None,
            counted: false,
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The cluster that it is of.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The method that a check goes by; none for a user's request.
    pub fn method(&self) -> Option<CheckMethod> {
        self.check
    }

    /// Whether this is the endpoint's trial.
    pub fn is_trial(&self) -> bool {
        self.ticket.is_trial()
    }

    /// What the connection checks before the first byte.
    pub fn stamp(&self) -> Stamp {
        self.ticket.stamp()
    }

    /// Looks once more whether the endpoint may be used, right before the wire. A ticket that has become
    /// old is replaced where the endpoint is available still (it went from unknown to healthy, say):
    /// that is a choice made now.
    pub fn confirm(&mut self) -> bool {
        let now = self.cluster.clock.now();
        if self.endpoint.vitals.cell.is_current(self.ticket.stamp(), now) {
            return true;
        }
        if self.ticket.is_trial() {
            return false;
        }
        match self.endpoint.vitals.cell.admit(now) {
            Some(ticket) => self.ticket = ticket,
            None => return false,
        }
        true
    }

    /// Counts the exchange as sent.
    pub fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.tally().count_sent();
        }
    }

    /// Takes that back: the ticket was refused at the wire, so nothing was sent.
    pub fn retract(mut self) {
        if self.begun {
            self.begun = false;
            self.tally().uncount_sent();
        }
    }

    /// Says that the endpoint works: the answer is complete, or its first content came.
    pub fn pass(&mut self, latency: Duration) -> Outcome {
        let now = self.cluster.clock.now();
        let evidence = match self.check {
            Some(method) => Evidence::Check(method),
            None if self.makes_it_work => Evidence::Traffic,
            None => Evidence::Check(CheckMethod::Network),
        };
        let outcome = self.report_at(Verdict::Pass(evidence), now);
        if !matches!(outcome, Outcome::Stale) {
            self.endpoint.vitals.note_vouched(now, self.makes_it_work);
            if self.check.is_none() && self.makes_it_work {
                self.endpoint.vitals.note_latency(latency, now);
            }
        }
        outcome
    }

    /// Says what the exchange came to.
    pub fn report(&mut self, verdict: Verdict) -> Outcome {
        self.report_at(verdict, self.cluster.clock.now())
    }

    fn report_at(&mut self, verdict: Verdict, now: Tick) -> Outcome {
        self.begin();
        let outcome = self.settle(verdict, now);
        if let (Verdict::Fail(failure), Outcome::Stays) = (verdict, outcome) {
            self.sample(Sample::Failed(failure), now);
        }
        let counted = match (self.said, verdict) {
            // The pass before it stands, and what speaks of nobody can't come too late.
            (Some((_, Outcome::Stays | Outcome::Moved(_))), Verdict::Neutral) => Outcome::Stays,
            (Some(_) | None, Verdict::Pass(_) | Verdict::Fail(_) | Verdict::Neutral) => outcome,
        };
        self.said = Some((verdict, counted));
        if self.check.is_some() {
            self.count();
        }
        outcome
    }

    fn settle(&mut self, verdict: Verdict, now: Tick) -> Outcome {
        let outcome = self.endpoint.vitals.cell.report(&mut self.ticket, verdict, now, &self.endpoint.policy);
        let source = if self.check.is_some() { Source::Check } else { Source::Traffic };
        self.cluster.follow_up(&self.endpoint, outcome, source);
        if self.ticket.is_trial() {
            // A released trial is no change of state, but somebody may wait to claim the next one.
            self.cluster.ring();
        }
        outcome
    }

    /// Takes a request's final verdict into the share of failures. The epoch may have ended since the first
    /// content, and the endpoint's next one starts with no samples.
    fn sample(&self, sample: Sample, now: Tick) {
        let Endpoint { vitals, window, failure_limit, policy, .. } = &*self.endpoint;
        let stamp = self.ticket.stamp();
        if self.check.is_some() || !vitals.cell.is_current(stamp, now) {
            return;
        }
        if let Some(failure) = window.record(stamp, sample, now, *failure_limit) {
            let outcome = vitals.cell.trip(stamp, failure, now, policy);
            self.cluster.follow_up(&self.endpoint, outcome, Source::Traffic);
        }
    }

    /// What only shows that a key is taken says nothing of how often the endpoint works.
    fn sample_pass(&self) {
        if let Some((Verdict::Pass(_), Outcome::Stays | Outcome::Moved(_))) = self.said
            && self.makes_it_work
        {
            self.sample(Sample::Passed, self.cluster.clock.now());
        }
    }

    fn count(&mut self) {
        if let Some((verdict, outcome)) = &self.said
            && !self.counted
        {
            self.tally().count(verdict, outcome);
            self.counted = true;
        }
    }

    fn tally(&self) -> &Tally {
        let vitals = &self.endpoint.vitals;
        if self.check.is_some() { &vitals.checks } else { &vitals.requests }
    }
}

pub(super) fn announce_claim(cluster: &Cluster, endpoint: &Endpoint, claim: &Claim, source: Source) {
    if claim.change.from.state != claim.change.to.state {
        cluster.announce(endpoint, claim.change, source);
    } else {
        // No news, but the prober is to know when its lease ends.
        cluster.ring();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        match self.said {
            Some(_) => {
                self.count();
                self.sample_pass();
            }
            None if self.begun => {
                let outcome = self.settle(Verdict::Neutral, self.cluster.clock.now());
                self.tally().count(&Verdict::Neutral, &outcome);
            }
            // Never sent: nothing to count, but a trial must be given back.
            None if self.ticket.is_trial() => {
                let _ = self.settle(Verdict::Neutral, self.cluster.clock.now());
            }
            None => {}
        }
        // Last, so that an endpoint with nothing in flight has everything counted.
        if self.check.is_none() {
            self.endpoint.vitals.leave();
        }
    }
}
