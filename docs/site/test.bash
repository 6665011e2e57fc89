#!/usr/bin/env bash
# The tests of the pages, for ctest: generator or browser. The exit code 77 says that they cannot run here.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

skip() {
    printf 'skipped: %s\n' "$1"
    exit 77
}

command -v node >/dev/null || skip 'there is no node; ./tour read installs it'
[[ -e node_modules/playwright-core ]] || skip 'the libraries are not here; ./tour read installs them'
if [[ $1 == browser ]]; then
    for program in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
        if [[ -x $program ]]; then exec node --test test/browser.test.js; fi
    done
    skip 'there is no Chromium'
fi
exec node --test test/generator.test.js
