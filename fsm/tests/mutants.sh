#!/usr/bin/env bash
# The tests of the tests: each planted fault (a feature of qcc-fsm, see src/mutant.rs) must make one named
# check fail, by a test that fails and not by a build that does, and the same check must pass without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LOOM_MAX_PREEMPTIONS=3

# run TARGET FEATURES TEST: builds, which must work; prints what the test came to: ok or FAILED.
run() {
    local target=$1 features=$2 test=$3 log
    export RUSTFLAGS=
    if [[ $target == loom ]]; then
        export RUSTFLAGS='--cfg loom'
        features=$features,look-by-rmw
    fi
    local build=(cargo test --locked --quiet -p qcc-fsm --test "$target" --features "$features")
    if ! log=$("${build[@]}" --no-run 2>&1); then
        printf '%s\n' "$log" >&2
        return 1
    fi
    log=$("${build[@]}" -- --exact "$test" 2>&1) || true
    case $log in
        *'test result: ok. 1 passed; 0 failed'*) echo ok ;;
        *'test result: FAILED. 0 passed; 1 failed'*) echo FAILED ;;
        *) printf '%s: no such test, or it did not end\n%s\n' "$test" "$log" >&2 && return 1 ;;
    esac
}

wrong=0
# check MUTANT TARGET TEST
check() {
    local mutant=$1 target=$2 test=$3 without with start=$SECONDS
    without=$(run "$target" '' "$test")
    with=$(run "$target" "$mutant" "$test")
    if [[ $without == ok && $with == FAILED ]]; then
        echo "caught  $mutant  by $target::$test  ($((SECONDS - start)) s)"
    else
        echo "MISSED  $mutant  by $target::$test: $without without it, $with with it"
        wrong=1
    fi
}

check mutant-store loom of_as_many_failing_reporters_as_the_threshold_one_moves
check mutant-relaxed loom a_401_races_a_chooser
check mutant-claim-keeps-epoch loom a_takeover_races_a_late_pass
check mutant-trip-ignores-stamp loom a_trip_of_an_older_epoch_races_a_recovery
check mutant-trip-ignores-stamp exhaustive the_machine_is_the_table_for_endpoints_billed_by_the_token
check mutant-epoch-ignored exhaustive the_machine_is_the_table_for_endpoints_billed_by_the_token
check mutant-threshold-eq exhaustive the_machine_is_the_table_for_endpoints_billed_by_the_token
check mutant-no-lease exhaustive the_machine_is_the_table_for_endpoints_billed_by_the_token
exit "$wrong"
