# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour bench: what each stage costs.

needs_to_bench=(
    'python3|python3|Python 3.10 or newer'
    'wrk|wrk|wrk, a load generator for HTTP'
    'strace|strace|strace'
)

bench() {
    local peers=build/peers
    set_up "${needs_to_build[@]}" "${needs_beyond[@]}" "${needs_to_bench[@]}"
    check_python
    build "${all_stages[@]##*/}" floor two_segments
    if [[ " $* " != *" --draw "* && " $* " != *" --help "* ]]; then
        build_plain
        unpack_peer nginx "$peers"
        unpack_peer lighttpd "$peers"
    fi
    say "Measuring; what comes out goes to bench/results/ and docs/figures/"
    exec python3 -B -m bench.bench --peers "$root/$peers" "${@:2}" 3>&-
}

# check_python: ends where it is too old for the programs of this folder.
check_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die 1 "python3 here is older than 3.10, which is needed: $(python3 --version)"
}

# build_plain: the stages without the flags that harden them, to compare with.
build_plain() {
    discard_stale_tree build-plain
    say "Building the stages once more in build-plain/, to compare with"
    cmake --preset plain >/dev/null || die 1 "CMake could not set up build-plain/; its message is above."
    cmake --build --preset plain --target "${stages[@]}" >&3 ||
        die 1 "The build failed; the compiler's message is above."
}

# unpack_peer PACKAGE FOLDER: fetches a web server to compare with. It is not installed: that would
# start it, now and with every start of the machine.
unpack_peer() {
    local package=$1 folder=$2 missing
    if [[ ! -x $folder/usr/sbin/$package ]]; then
        command -v apt-get >/dev/null ||
            die 1 "The bench compares with $package from Debian's or Ubuntu's packages, and there is no apt-get here."
        say "Unpacking $package in $folder/, to compare with; it is not installed"
        mkdir -p "$folder"
        (cd "$folder" && rm -f "$package"_*.deb && apt-get -qq download "$package" >&3 2>&1 &&
            dpkg -x "$package"_*.deb . && rm -f "$package"_*.deb) ||
            die 1 "$package could not be fetched; its message is above. 'apt-get update' may help."
    fi
    missing=$(ldd "$folder/usr/sbin/$package" | sed -n 's/ *=> not found//p')
    [[ -z $missing ]] || die 1 "$package needs libraries that are not here:" "$missing"
}
