# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour docs: what the pages say, against the programs.

# docs [--update]: the tests of the docs, after those of the comparison that they show.
check_docs() {
    if (($# > 2)) || [[ $# == 2 && $2 != --update ]]; then
        die 2 "'./tour docs' takes --update or nothing, but got '${*:2}'."
    fi
    set_up "${needs_to_build[@]}" "${needs_beyond[@]}" "${needs_to_test[@]}"
    build
    if (($# == 1)); then
        say "Checking README.md and docs/"
        ctest --preset release -j "$((2 * jobs))" -R '^(Docs|Terminal)'
    else
        say "Observing the comparison, then writing README.md and docs/ anew"
        ctest --preset release -j "$((2 * jobs))" -R Comparison -E '^Docs' --quiet ||
            die 1 "The comparison failed, and nothing was written; './tour test' shows where."
        build/bin/docs_test --update --gtest_brief=1
    fi
}
