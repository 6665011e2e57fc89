# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour without a command: builds the seven stages, and compares them.

# compare: runs the tests of the comparison, most of which wait most of the time, and shows the table.
compare() {
    local how=--quiet
    if [[ -t 1 ]]; then how=--progress; fi
    rm -rf build/comparison
    local others='^Docs' stage
    for stage in "${beyond[@]##*/}"; do others+="|/$stage"; done
    ctest --preset release -j "$((2 * jobs))" -R Comparison -E "$others" "$how" >&3 || {
        ctest --preset release -R Comparison -E "$others" --rerun-failed >&3 || true
        die 1 "The comparison failed: what was expected and what came is above."
    }
    build/bin/stage_tests --observed build/comparison --comparison build/comparison.md
}

tour() {
    set_up_to_follow
    build stage_tests # with the programs that it runs
    say "Comparing: what each client does, asked of the seven bare programs and the seven servers"
    compare
    say "Where to read on"
    note "docs/README.md        the lessons, one per stage, to be read beside the code" \
        "./tour run 06 --bare  start a bare program, and talk to it: curl http://127.0.0.1:8080/" \
        "./tour run 06         the same with the server of the stage" \
        "./tour diff 05 06     what changed from one stage to the next" \
        "./tour exercise       exercises that check themselves" \
        "./tour test           all the tests" \
        "build/comparison.md   all rows of the comparison; the table above has some of them"
}
