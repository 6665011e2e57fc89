# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour exercise: exercises that judge themselves.

needs_to_exercise=(
    'python3|python3|Python 3.10 or newer'
    'patch|patch|patch'
    'strace|strace|strace'
)

# exercise [NN|next|COMMAND [NN]]: docs/exercises/README.md says more.
exercise() {
    if [[ ${2:-} =~ ^(check|watch|run)$ ]]; then
        set_up "${needs_to_build[@]}" "${needs_to_exercise[@]}"
        build stage_tests 3>/dev/null
    else
        set_up "${needs_to_exercise[@]}"
    fi
    exec python3 -B -m tests.exercises.exercise "${@:2}" 3>&-
}
