#!/usr/bin/env bash
# The test of the simulator: each planted fault must be found within SEEDS worlds (200), by a run that fails and not by
# a build that does, and none is found without one. Works on a copy of the sources. About a minute for each fault;
# ONLY=NAME plants one of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Not the usual one: cargo takes the copy's crates for these, and would keep a planted fault for a build without one.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/mutants
export QCC_SIM_SEEDS=${SEEDS:-200}
wrong=0

fresh() {
    rm -rf "$copy/tree"
    mkdir "$copy/tree"
    # With new times (-m), so that nothing built of the fault before is taken for fresh.
    tar -C "$root" --exclude=./target --exclude=./.git -cf - . | tar -C "$copy/tree" -xmf -
}

# run NAME EXPECTED [FEATURE]: in the copy.
run() {
    [[ -z ${ONLY:-} || $1 == "$ONLY" ]] || return 0
    local name=$1 expected=$2 feature=${3:-} start=$SECONDS log what
    local command=(cargo test --quiet --test simulator)
    [[ -z $feature ]] || command+=(--features "$feature")
    if ! log=$(cd "$copy/tree" && "${command[@]}" --no-run 2>&1); then
        printf '%s: does not build\n%s\n' "$name" "$log" >&2
        exit 1
    fi
    log=$(cd "$copy/tree" && "${command[@]}" every_invariant -- --nocapture 2>&1) || true
    case $log in
        *'test result: ok. 1 passed'*) what=nothing ;;
        *'test result: FAILED. 0 passed; 1 failed'*) what=found ;;
        *) printf '%s: no such test, or it did not end\n%s\n' "$name" "$log" >&2 && exit 1 ;;
    esac
    local first seeds
    first=$(grep -m1 '^seed' <<<"$log" | cut -c1-110 || true)
    seeds=$(grep -cE '^seed [0-9]+: at .*violations\)$' <<<"$log" || true)
    if [[ $what == "$expected" ]]; then
        echo "ok      $name: $what, $seeds of $QCC_SIM_SEEDS, $first ($((SECONDS - start)) s)"
    else
        echo "MISSED  $name: $what"
        wrong=1
    fi
}

# plant NAME FILE FROM TO [FILE FROM TO]: the texts must be there, once.
plant() {
    local name=$1
    shift
    fresh
    while (($# > 0)); do
        FROM=$2 TO=$3 perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ and $n++; END { exit($n == 1 ? 0 : 1) }' "$copy/tree/$1" ||
            { echo "$name: $1 has changed" >&2; exit 1; }
        shift 3
    done
    run "$name" found
}

fresh
run "no fault" nothing
for feature in epoch-ignored claim-keeps-epoch threshold-eq no-lease; do
    run "$feature" found "qcc-fsm/mutant-$feature"
done
plant "no look before the wire" \
    src/upstream/wire.rs 'if !self.admission.is_current(stamp)' 'if false && !self.admission.is_current(stamp)' \
    src/cluster/attempt.rs 'if self.endpoint.vitals.cell.is_current(self.ticket.stamp(), now) {' 'if now.0 > 0 {'
plant "what is lost is always sent again" \
    src/proxy/exchange.rs 'RetryAmbiguous::PerToken => endpoint.settings.billing == Billing::PerToken,' \
    'RetryAmbiguous::PerToken => endpoint.settings.billing == Billing::PerToken || true,'
plant "a cut answer ends cleanly" \
    src/proxy/relay.rs 'Abort::Now => return Poll::Ready(Some(Err(Aborted))),' 'Abort::Now => return Poll::Ready(None),'
plant "a cooldown may shrink" \
    fsm/src/cooldown.rs 'fetch_max(' 'swap('
plant "a change is told twice" \
    src/cluster/mod.rs 'self.journal.record(endpoint, &change, source, self.clock.shown(now));' \
    'for _ in 0..2 { self.journal.record(endpoint, &change, source, self.clock.shown(now)); }'
plant "endpoints billed by the request are checked at start" \
    src/prober/round.rs '.filter(|endpoint| !endpoint.is_per_request())' '.filter(|_| true)'
plant "no budget" \
    src/cluster/budget.rs 'if is_entered && retries <= RETRIES_MIN.max(requests / REQUESTS_PER_RETRY)' \
    'if is_entered && retries <= RETRIES_MIN.max(requests / REQUESTS_PER_RETRY) + 1_000'
plant "a reload forgets" \
    src/cluster/roster.rs 'endpoint.is_same_as(settings))' 'endpoint.is_same_as(settings) && settings.weight == 1)'
plant "the status forgets the cooldown" \
    src/admin/status.rs 'usable: word.is_available() && !is_cooling,' 'usable: word.is_available(),'
plant "any 200 passes a chat check" \
    src/prober/check.rs 'if chat::says(protocol, body, code) {' 'if chat::says(protocol, body, code) || !body.is_empty() {'
plant "last resorts without a pause" \
    src/cluster/choose.rs 'let passes = endpoint.vitals.last_resort.pass(search.now, LAST_RESORT_EVERY);' \
    'let passes = endpoint.vitals.last_resort.pass(search.now, LAST_RESORT_EVERY) || search.now.0 > 0;'
plant "a trial that was never sent is kept" \
    src/cluster/attempt.rs 'None if self.ticket.is_trial() => {' 'None if self.ticket.is_trial() && self.begun => {'
plant "what is lost on a kept connection is sent there again" \
    src/upstream/http1.rs 'Err(error) if !self.gate.wrote() => {' \
    'Err(error) if !self.gate.wrote() || history == History::Kept => {'
exit "$wrong"
