# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour break: classic mistakes.

needs_to_break=(
    'patch|patch|patch'
    "${needs_beyond[@]}" # some of the stages with a mistake are in beyond/
)

# break [NAME]: without a name, lists the mistakes; --all makes them all.
break_stage() {
    (($# <= 2)) || die 2 "'./tour break' takes one name, but got '${*:2}'." "./tour break lists them."
    if (($# == 1)); then exec tests/mistakes/run --list; fi
    set_up "${needs_to_build[@]}" "${needs_to_test[@]}" "${needs_to_break[@]}"
    build stage_tests
    exec tests/mistakes/run "$2"
}
