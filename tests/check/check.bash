# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour check: before a commit.

# shellcheck source=tests/fuzz/fuzz.bash
source tests/fuzz/fuzz.bash
# shellcheck source=tests/mistakes/break.bash
source tests/mistakes/break.bash
# shellcheck source=tests/mutants/mutate.bash
source tests/mutants/mutate.bash
# shellcheck source=docs/site/read.bash
source docs/site/read.bash
# shellcheck source=tests/exercises/exercise.bash
source tests/exercises/exercise.bash

needs_to_check=( # those of Debian 12: another version of most of them has another opinion
    "${needs_to_fuzz[@]}"
    "${needs_to_mutate[@]}"
    "${needs_to_read[@]}"
    'chromium|chromium|Chromium'
    'clang-format-14|clang-format-14|clang-format 14'
    'clang-tidy-14|clang-tidy-14|clang-tidy 14'
    '32 bits|g++-multilib|g++ for programs of 32 bits'
    'shellcheck|shellcheck|ShellCheck'
    'black 23|black|Black 23, which formats Python'
    'pyflakes3|pyflakes3|Pyflakes'
    'mypy|mypy|mypy, which checks types in Python'
)

needs_for_fresh=(
    'debootstrap|debootstrap|debootstrap'
    'unshare|util-linux|unshare, from util-linux'
    'git|git|Git'
)

check() {
    if [[ ${2:-} == --fresh ]]; then
        check_fresh "${@:3}"
        return
    fi
    local changes='--sample 5' share=5 mistakes='--sample 6' exercises='--sample 2' compilers_32
    compilers_32=$(printf 'g++\nclang++-14\n' | shuf -n 1 --random-source=<(yes "$(seed_of_commit)"))
    if (($# == 2)) && [[ $2 == --all ]]; then
        changes='' share=1 mistakes=--all exercises='' compilers_32='g++ clang++-14'
    elif (($# > 1)); then
        die 2 "'./tour check' takes --all, --fresh RELEASE... or nothing, but got '${*:2}'."
    fi
    local ours='[0-9]*/*.cpp [0-9]*/*.h beyond/*/*.cpp beyond/*/*.h tests/*.cpp tests/*/*.cpp tests/*/*.h bench/*/*.cpp'
    local python='bench docs/recorder docs/exercises tests/exercises tests/mutants tests/try'
    local strict='-DCMAKE_COMPILE_WARNING_AS_ERROR=ON >/dev/null' steady preset compiler start=$SECONDS skipped=()
    set_up_check
    find_steady
    set_sanitizer_options
    step_with clang-format-14 -- "Formatting" "clang-format-14 --dry-run -Werror $ours"
    step_with shellcheck -- "Shell scripts" "shellcheck -x tour .ci/run docs/site/test.bash tests/check/fresh tests/mistakes/run tests/try/servers/*/run"
    step_with 'black 23' -- "Python, its format" "black --quiet --check --line-length 100 $python"
    step_with pyflakes3 mypy -- "Python" "pyflakes3 $python && mypy --no-error-summary --cache-dir=/dev/null \
        --namespace-packages --explicit-package-bases $python"
    discard_stale_tree build
    step "Building: g++" "cmake --preset release $strict && cmake --build --preset release"
    discard_stale_tree build-clang
    # It reports what clang warns of, too: so the suite need not be built by clang. It counts what it
    # holds back in the headers of libraries; those lines say nothing about us.
    if has clang++-14 && has clang-tidy-14; then
        # A bare program is one main(), however long.
        step_beside "clang-tidy" "cmake --preset clang $strict && {
            run-clang-tidy-14 -quiet -p build-clang '^(?!.*/bare\.cpp$)' &&
                run-clang-tidy-14 -quiet -p build-clang -checks=-readability-function-size '/bare\.cpp$'
            } 2>&1 | sed '/warnings generated/d'"
    else
        skip "clang-tidy" "without clang++-14 and clang-tidy-14"
    fi
    for compiler in $compilers_32; do
        step_with '32 bits' "$compiler" -- "Compiling for 32 bits with $compiler" \
            "printf '%s\n' [0-9]*/*.cpp beyond/*/*.cpp | xargs -P $jobs -n 1 $compiler -m32 -std=c++20 \
            -fsyntax-only -Werror -Wall -Wextra -Wpedantic -Wshadow -Wconversion"
    done
    suite_on asan "g++ with AddressSanitizer and UndefinedBehaviorSanitizer" "$share"
    suite_on tsan "g++ with ThreadSanitizer" "$share"
    if has clang++-14; then suite_on clang "clang 14" "$share"; else skip "The suite with clang" "without clang++-14"; fi
    if has node && has npm && has chromium; then
        install_libraries
        step "The pages, in a browser" "docs/site/test.bash generator && docs/site/test.bash browser"
    else
        skip "The pages, in a browser" "without node, npm and chromium"
    fi
    step "A server of somebody else's: is it judged as it should be?" "python3 -B tests/try/judge_test.py"
    step "Servers of others, two of them: does each do what the page says?" "./tour try --servers --sample 2"
    step "The exercises: do they judge?" "python3 -B -m tests.exercises.exercise_test"
    step "The exercises: does each start fail, and each answer pass?" "python3 -B -m tests.exercises.prove $exercises"
    # In one run of .ci/run, ./tour test has done that.
    [[ -n ${ALL_TESTED:-} ]] || step "A fault at every system call" "build/bin/stage_tests --gtest_brief=1 --gtest_filter=Faults*:Injection*"
    step "Classic mistakes: is each one noticed?" "tests/mistakes/run $mistakes"
    step_with clang++-14 clang.cindex -- "Small changes${changes:+, 5 of them}: are they noticed?" \
        "/usr/bin/python3 -B -m tests.mutants.mutate $changes"
    if has libclang_rt.fuzzer; then fuzz_requests 10; else skip "Fuzzing: the bytes of a request" "without clang 14"; fi
    for preset in asan tsan; do fuzz_clients 10 "$preset"; done
    if has clang++-14 && has clang-tidy-14; then end_beside; fi
    say "All checks passed in $((SECONDS - start)) s${skipped[*]:+, but for what this release does not have:}"
    if ((${#skipped[@]})); then note "${skipped[@]}"; fi
}

# check_fresh RELEASE...: the README's commands, on a bare machine of each of these releases.
check_fresh() {
    (($#)) || die 2 "Which releases of Debian? For example './tour check --fresh bookworm trixie'."
    ((EUID == 0)) || die 1 "'./tour check --fresh' makes machines with debootstrap, which takes root."
    set_up "${needs_to_build[@]}" "${needs_for_fresh[@]}"
    step "The README's commands on a bare machine: $*" "tests/check/fresh $*"
}

# set_up_check: the check's tools are those of Debian 12. What another release does not have is named,
# and left out.
set_up_check() {
    local need probe package version available=("${needs_to_build[@]}" "${needs_beyond[@]}" "${needs_to_test[@]}" "${needs_to_break[@]}")
    local missing packages titles
    find_missing "${needs_to_check[@]}"
    for need in "${missing[@]}"; do
        IFS='|' read -r probe package _ <<<"$need"
        version=
        if [[ $probe =~ ^[a-z]+\ [0-9]+$ ]]; then version=${probe##* }.; fi # "black 23"
        if apt-cache madison "$package" 2>/dev/null | grep -qF "| $version"; then available+=("$need"); fi
    done
    set_up "${available[@]}"
}

# step_beside TITLE COMMAND: the same, with the CPU time that the steps that follow leave over, until
# end_beside waits for it. One at a time.
step_beside() {
    beside=$1 beside_start=$SECONDS
    say "$1, beside the next steps"
    note "$2"
    setsid nice -n 19 bash -o pipefail -c "$2" >build/beside.log 2>&1 &
    beside_pid=$!
    trap 'kill -- "-$beside_pid" 2>/dev/null || true' EXIT
}

end_beside() {
    say "$beside"
    wait "$beside_pid" || die 1 "$beside: failed:" "$(cat build/beside.log)"
    trap - EXIT
    note "$beside: passed $((SECONDS - beside_start)) s after it began"
}

# skip TITLE REASON: a step that cannot be run here. Where nobody is there to read it, it is a failure.
skip() {
    if [[ -n ${CI:-} ]]; then die 1 "$1: cannot be run here: $2"; fi
    note "$1: skipped: $2"
    skipped+=("$1: $2")
}

# step_with PROBE... -- TITLE COMMAND: a step, or a skip where one of these needs is not here.
step_with() {
    local probe absent=()
    while [[ $1 != -- ]]; do
        if ! has "$1"; then absent+=("$1"); fi
        shift
    done
    if ((${#absent[@]})); then skip "$2" "without ${absent[*]}"; else step "$2" "$3"; fi
}

# seed_of_commit: what the samples are drawn by: other ones after each commit, and the same ones until then.
seed_of_commit() { git rev-parse HEAD 2>/dev/null || echo none; }

# suite_on PRESET TITLE [SHARE]: builds the stages with that preset, warnings being errors, and runs the
# suite on them, which build/ holds. Most tests wait most of the time: so more of its parts than CPUs.
# With a SHARE of N, one test of N is run. The bare programs' faults are there on purpose, and would end
# them under a sanitizer: so the suite leaves them out there.
suite_on() {
    local preset=$1 title=$2 share=${3:-1} parts=$((3 * jobs)) numbers servers=("${all_stages[@]##*/}") programs
    programs=("${servers[@]}")
    if [[ $preset != [at]san ]]; then programs+=("${servers[@]/%/_bare}"); fi
    numbers=$(seq 0 $((share * parts - 1)) | shuf -n "$parts" --random-source=<(yes "$(seed_of_commit)") | xargs)
    discard_stale_tree "build-$preset"
    step "Building the stages: $title" \
        "cmake --preset $preset $strict &&
            cmake --build --preset $preset --target ${programs[*]}"
    if ((share > 1)); then title+=", one test of $share"; fi
    step "Testing the stages: $title" \
        "export STAGE_BINARIES=build-$preset/bin GTEST_TOTAL_SHARDS=$((share * parts)) &&
        printf '%s\\n' $numbers | ${steady}xargs -P $parts -I NUMBER env GTEST_SHARD_INDEX=NUMBER \
        timeout 300 build/bin/stage_tests --gtest_brief=1 --gtest_filter=-Standalone.*"
}
