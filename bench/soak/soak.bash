# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour soak: hostile clients on all stages at once, and the fuzzers.

# shellcheck source=bench/bench.bash
source bench/bench.bash
# shellcheck source=tests/fuzz/fuzz.bash
source tests/fuzz/fuzz.bash

needs_to_soak=(
    'python3|python3|Python 3.10 or newer'
    'wrk|wrk|wrk, a load generator for HTTP'
    'slowhttptest|slowhttptest|slowhttptest, slow clients of several kinds'
)

# soak [--seconds N] [--seed N]: see soak.py. Without an option the fuzzers follow, for long.
soak() {
    set_up "${needs_to_build[@]}" "${needs_to_soak[@]}"
    check_python
    build "${stages[@]}"
    say "Soaking; a complete run in which all holds goes to bench/results/ and docs/figures/"
    python3 -B -m bench.soak.soak "${@:2}" 3>&- || exit
    if (($# == 1)); then fuzz fuzz 300; fi
}
