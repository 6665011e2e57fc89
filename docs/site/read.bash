# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour read: the pages in a browser, each lesson beside its code.

needs_to_read=(
    'node|nodejs|Node.js 18.20 or newer'
    'npm|npm|npm'
)

# read [--serve [PORT]]: builds the pages; opens them, or serves them on 127.0.0.1.
read_pages() {
    local port=${3:-0} page=$root/build/site/index.html
    if (($# > 3)) || [[ $# -ge 2 && $2 != --serve ]]; then
        die 2 "'./tour read' takes --serve, --serve PORT or nothing, but got '${*:2}'."
    fi
    if [[ ! $port =~ ^[0-9]{1,5}$ ]] || ((10#$port > 65535)); then
        die 2 "'$port' is not a port: --serve takes a number from 0 to 65535, or nothing."
    fi
    set_up "${needs_to_read[@]}"
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 18 || (a == 18 && b >= 20) ? 0 : 1)' ||
        die 1 "node here is older than 18.20, which is needed: $(node --version)"
    install_libraries
    say "Building the pages in build/site/"
    node docs/site/build.js >&3 || die 1 "The pages could not be built; what is wrong with them is above."
    if [[ ${2:-} == --serve ]]; then exec node docs/site/serve.js "$port" 3>&-; fi
    note "Open file://$page in a browser."
    if [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]] && command -v xdg-open >/dev/null; then
        xdg-open "$page" || note "It did not open by itself."
    fi
}

# install_libraries: what the generator and its tests use, as package-lock.json says, into
# docs/site/node_modules/.
install_libraries() {
    local site=docs/site
    if [[ $site/node_modules/.package-lock.json -nt $site/package-lock.json ]]; then return; fi
    say "Installing the generator's libraries in $site/node_modules/"
    (cd "$site" && npm ci --ignore-scripts --no-audit --no-fund >&3 2>&1) ||
        die 1 "npm could not install them; its message is above."
}
