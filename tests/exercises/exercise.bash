# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour exercise: exercises that check themselves.

needs_to_exercise=(
    'python3|python3|Python 3.10 or newer'
    'patch|patch|patch'
    'strace|strace|strace'
)

# exercise [NN|next|COMMAND [NN]]: docs/exercises/README.md says more.
exercise() {
    local program=(python3 -B -m tests.exercises.exercise) target
    set_up "${needs_to_exercise[@]}"
    if [[ ${2:-} =~ ^(check|watch|run)$ ]]; then
        set_up "${needs_to_build[@]}" "${needs_beyond[@]}"
        target=$("${program[@]}" --needed "${@:2}") || exit
        if [[ -n $target ]] && ! is_built "$target"; then
            note "First, the tests have to be built. This can take some minutes:"
            build "$target"
        fi
    fi
    exec "${program[@]}" "${@:2}" 3>&-
}

# is_built TARGET: whether it is up to date in build/.
is_built() {
    [[ -e build/build.ninja && $(ninja -C build -n "$1" 2>/dev/null) == *'no work to do'* ]]
}
