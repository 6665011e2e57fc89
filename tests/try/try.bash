# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour try: the tests, on a server of your own, or on those of servers.ini.

needs_to_try=(
    'python3|python3|Python 3.10 or newer'
    'curl|curl|curl'
    'ab|apache2-utils|ab'
)
needs_to_try_servers=(
    'nginx|nginx-light|nginx'
    'lighttpd|lighttpd|lighttpd'
    'busybox|busybox|BusyBox'
    'node|nodejs|Node 18 or newer'
)

# try_server [OPTION...] -- COMMAND...: docs/your_server.md says more.
# try_server --servers [NAME...|--sample N|--all] [--twice] [--update]: is each as the page says?
try_server() {
    set_up "${needs_to_build[@]}" "${needs_to_try[@]}"
    build stage_tests >&2
    if [[ ${2:-} == --servers ]]; then
        install_servers
        exec python3 -B tests/try/servers.py "${@:3}" 3>&-
    fi
    exec python3 -B tests/try/judge.py "${@:2}" 3>&-
}

# install_servers: as root only, as in a container. Anybody else is told what was not tried. Debian would
# also start nginx and lighttpd for the whole machine; policy-rc.d(8) prevents that.
install_servers() {
    local missing packages titles policy=/usr/sbin/policy-rc.d
    PATH=$PATH:/usr/sbin find_missing "${needs_to_try_servers[@]}"
    if ((${#missing[@]} == 0 || EUID != 0)) || ! command -v apt-get >/dev/null; then return; fi
    if [[ -e $policy ]]; then
        (install "${packages[@]}") || true # what is still missing is named
        return
    fi
    (
        trap 'rm -f "$policy"' EXIT # even where it is interrupted
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        install "${packages[@]}"
    ) || true
}
