# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour mutate: small changes to the code, one at a time.

needs_to_mutate=(
    'clang++-14|clang-14|clang 14'
    'clang.cindex|python3-clang-14|the Python binding of libclang 14'
)

# mutate [NN|common] [OPTION...]: changes that a program makes, one at a time; tests/mutants/ says more.
mutate() {
    set_up "${needs_to_build[@]}" "${needs_to_test[@]}" "${needs_to_mutate[@]}"
    build stage_tests
    exec /usr/bin/python3 -B -m tests.mutants.mutate "${@:2}" 3>&-
}
