# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour record: the timelines of the chapters.

needs_to_record=(
    'python3|python3|Python 3.10 or newer'
    'strace|strace|strace'
)

# record [--draw]: the timelines of the chapters.
record() {
    set_up "${needs_to_build[@]}" "${needs_to_record[@]}"
    build "${stages[@]}" "${stages[@]/%/_bare}"
    say "Recording; what comes out goes to docs/recordings/ and docs/figures/"
    exec python3 -B -m docs.recorder.record "${@:2}" 3>&-
}
