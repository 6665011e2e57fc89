# shellcheck shell=bash disable=SC2154 # ./tour reads this, and sets what it uses
# ./tour diff: what changed from one stage to another, or from an idea to its server.

# diff A B [--bare] | diff NN --bare-main
diff_stages() {
    local a b pager=(cat) colour=never
    [[ $# == 3 || ($# == 4 && $4 == --bare) ]] ||
        die 2 "Which two stages? For example './tour diff 05 06', './tour diff 05 06 --bare'" \
            "or './tour diff 06 --bare-main'. The stages are:" "${all_stages[@]##*/}"
    set_up 'git|git|Git'
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then colour=always; fi
    if [[ -t 1 ]] && command -v less >/dev/null; then pager=(less -RFX); fi
    a=$(stage_named "$2")
    if [[ $3 == --bare-main ]]; then
        show_calls "$a" | "${pager[@]}"
        return
    fi
    b=$(stage_named "$3")
    if [[ $a == "$b" ]]; then
        printf '%s is the same stage as itself: nothing changed.\n' "$a"
    elif [[ ${4:-} == --bare ]]; then
        show_file "$a/bare.cpp" "$b/bare.cpp" | "${pager[@]}"
    else
        show_servers "$a" "$b" | "${pager[@]}"
    fi
}

# The lines that name the place of a change: the function or the class that it is in.
places='!^ *(if|for|while|switch|do|else|try|catch|return)[ (]
^ {0,4}([A-Za-z_~][^;]*\)( const| noexcept)* \{)$
^((class|struct|enum)[^;]*\{)$'

# show_file A B: what changed between two files. Git says with 1 that they differ.
show_file() {
    git -c "diff.cpp.xfuncname=$places" diff --no-index --no-ext-diff --color="$colour" -- "$1" "$2" ||
        (($? == 1))
}

# show_servers A B: what changed in each file of two servers, and which files only one of them has.
show_servers() {
    local path name
    for path in "$1"/main.cpp "$1"/*.h; do
        name=${path##*/}
        if [[ -e $2/$name ]]; then show_file "$path" "$2/$name"; else printf 'Only %s has %s.\n' "$1" "$name"; fi
    done
    for path in "$2"/*.h; do
        name=${path##*/}
        if [[ ! -e $1/$name ]]; then printf 'Only %s has %s.\n' "$2" "$name"; fi
    done
}

calls_of_bare='\b(socket|setsockopt|bind|listen|accept4?|recv|send|select|poll|epoll_create1|epoll_ctl|epoll_wait|shutdown|close)\('

# show_calls STAGE: each call of the bare program, and below it where the server makes the same call.
show_calls() {
    local line number call
    while IFS=: read -r number line; do
        call=$(grep -oE "$calls_of_bare" <<<"$line" | head -n 1)
        printf '%s/bare.cpp:%s: %s\n' "$1" "$number" "${line#"${line%%[! ]*}"}"
        grep -nE "::p?$(call_of_server "${call%(}")\(" "$1"/main.cpp "$1"/*.h | grep -v /console.h |
            sed -E 's/^([^:]*:[0-9]+:) */    \1 /'
    done < <(grep -nE "^ .*$calls_of_bare" "$1/bare.cpp" | grep -vE '^[0-9]+: *//')
    printf '\nThe rest of the server is there for what the bare program makes of clients that leave, that are\n'
    printf 'silent, or that are too many: docs/reference/comparison.md shows both.\n'
}

# call_of_server CALL: what the server calls in place of this call of the bare program.
call_of_server() {
    case $1 in
    accept) echo accept4 ;;
    epoll_wait) echo epoll_pwait ;;
    *) echo "$1" ;;
    esac
}
