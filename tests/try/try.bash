# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour try: the tests, on a server of your own.

needs_to_try=(
    'python3|python3|Python 3.10 or newer'
    'curl|curl|curl'
    'ab|apache2-utils|ab'
)

# try_server [OPTION...] -- COMMAND...: docs/your_server.md says more.
try_server() {
    set_up "${needs_to_build[@]}" "${needs_to_try[@]}"
    build stage_tests >&2
    exec python3 -B tests/try/judge.py "${@:2}" 3>&-
}
