# shellcheck shell=bash disable=SC2034 # the `run` of each server that sends files reads this
# What the servers of files have in common: they take --port, --body-bytes and --timeout, and send a file
# index.html. It sets port, timeout (milliseconds, or nothing), and folder, which holds that file alone.

port='' timeout='' bytes=13
while (($# >= 2)); do
    case $1 in
    --port) port=$2 ;;
    --body-bytes) bytes=$2 ;;
    --timeout) printf -v timeout %.0f "$2e3" ;;
    esac
    shift 2
done

# Once for each length: ./tour try has a temporary folder, and removes it. What is longer than 100 MB, no
# test looks at: so the rest of such a file is a hole, which takes no room.
folder=${TMPDIR:-/tmp}/tour-try-$UID-$bytes
if [[ ! -e $folder/index.html ]]; then
    new=$(mktemp -d "$folder.XXXXXX")
    chmod 755 "$new"
    head -c "$((bytes < 100000000 ? bytes : 1000000))" < <(yes 'Hello, world!' | tr -d '\n') >"$new/index.html"
    truncate --size="$bytes" "$new/index.html"
    mv --no-target-directory "$new" "$folder" 2>/dev/null || rm -r "$new" # another one was faster
fi
