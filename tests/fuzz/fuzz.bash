# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour fuzz: random clients and random bytes.

needs_to_fuzz=(
    'clang++-14|clang-14|clang 14'
    'libclang_rt.fuzzer|libclang-rt-14-dev|libFuzzer, of clang 14'
)

# step TITLE COMMAND: runs it with bash, and ends the check where it fails.
step() {
    local title=$1 command=$2 start=$SECONDS
    say "$title"
    note "$command"
    bash -o pipefail -c "$command" || die 1 "$title: failed. To repeat just this, in $root:" "$command"
    note "$title: passed in $((SECONDS - start)) s"
}

# fuzz [SECONDS]: each fuzzer for so long, 60 unless told.
fuzz() {
    local seconds=${2:-60} preset steady
    [[ $# -le 2 && $seconds =~ ^[1-9][0-9]{0,5}$ ]] ||
        die 2 "'./tour fuzz' takes a number of seconds from 1 to 999999, but got '${*:2}'."
    set_up "${needs_to_build[@]}" "${needs_beyond[@]}" "${needs_to_test[@]}" "${needs_to_fuzz[@]}"
    find_steady
    set_sanitizer_options
    build "${all_stages[@]##*/}"
    for preset in clang asan tsan; do
        discard_stale_tree "build-$preset"
        cmake --preset "$preset" >/dev/null || die 1 "CMake could not set up build-$preset/; its message is above."
    done
    fuzz_requests "$seconds"
    for preset in asan tsan; do
        cmake --build --preset "$preset" --target "${all_stages[@]##*/}" >/dev/null ||
            die 1 "The build failed; the compiler's message is above."
        fuzz_clients "$seconds" "$preset"
    done
}

# fuzz_requests SECONDS, fuzz_clients SECONDS PRESET: build a fuzzer where it is not there, and run it.
fuzz_requests() {
    step "Fuzzing: what the bytes of a request become" \
        "cmake --build --preset clang --target request_fuzzer >/dev/null &&
        ${steady}build-clang/bin/request_fuzzer -max_total_time=$1 -artifact_prefix=build-clang/ -verbosity=0"
}

fuzz_clients() {
    step "Fuzzing: clients of the stages, built as the preset $2 says" \
        "cmake --build --preset release --target client_fuzzer >/dev/null &&
        STAGE_BINARIES=build-$2/bin ${steady}build/bin/client_fuzzer --seconds $1 --gtest_brief=1"
}

# find_steady: sets $steady to what a program with a sanitizer has to be started with. Where the
# kernel scatters addresses widely, sanitizers of these compilers' age cannot start.
find_steady() {
    steady=''
    if (($(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0) > 28)) && setarch -R true 2>/dev/null; then
        steady='setarch -R '
    fi
}

# set_sanitizer_options: what the sanitizers' presets set for their tests (CMakePresets.json).
set_sanitizer_options() {
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
}
