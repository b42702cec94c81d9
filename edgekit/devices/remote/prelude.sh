# The beginning of every program for a device. POSIX sh with tools that BusyBox also has.
# Lines of output begin with $nonce, so the output of a login shell is ignored.
set -u
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

put() { printf '%s %s %s\n' "$nonce" "$1" "$2"; }

# send KEY FILE: the bytes of a file.
send() {
    [ -r "$2" ] || fail changed "$2"
    printf '%s file %s %s\n' "$nonce" "$1" "$(size "$2")"
    cat "$2"
    echo
}

# fail KIND DETAIL: prints the failure in one line and ends the program.
fail() {
    put problem "$1 $(printf '%s' "${2:-}" | flat)"
    put end 1
    exit 1
}

flat() { tr -s '\000\r\n\t' '    ' | cut -c 1-2000; }

has() { command -v "$1" >/dev/null 2>&1; }

size() { echo $(($(wc -c <"$1"))); }

digest() {
    if has sha256sum; then sha256sum <"$1" | cut -c 1-64
    elif has shasum; then shasum -a 256 <"$1" | cut -c 1-64
    else openssl dgst -sha256 -r <"$1" | cut -c 1-64
    fi
}

# tensorrt_of FILE: the NV_TENSORRT_VERSION in the first line that trtexec prints.
tensorrt_of() { sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' "$1" | head -n 1; }

# hear: sets heard to a new temporary file.
hear() {
    heard=$(mktemp 2>&1) || fail temporary "$heard"
    said=$(echo 2>&1 >"$heard") && return
    rm -f "$heard"
    fail temporary "$heard: $said"
}

# free FOLDER: the free kilobytes of a folder.
free() { df -Pk "$1" 2>/dev/null | awk '{for (i = 2; i <= NF; i++) if ($i ~ /%$/) kb = $(i - 1)} END {print kb}'; }

# home ROOT: the folder on the device as an absolute path.
home() {
    case $1 in
        '') printf '%s' "$HOME/edgekit" ;;
        '~') printf '%s' "$HOME" ;;
        '~/'*) printf '%s' "$HOME/${1#??}" ;;
        /*) printf '%s' "$1" ;;
        *) printf '%s' "$HOME/$1" ;;
    esac
}

# limited SECONDS COMMAND…: runs a command; 124 if it took longer. It also ends when
# $lease, the lock of this deployment, is gone, because then no edgekit waits for it.
limited() {
    limit=$1
    shift
    "$@" </dev/null &
    child=$!
    (
        spent=0
        while [ "$spent" -lt "$limit" ]; do
            sleep 1
            spent=$((spent + 1))
            kill -0 "$child" 2>/dev/null || exit 0
            [ -z "$lease" ] || [ "$(readlink "$root/lock")" = "$lease" ] || break
        done
        trap 'exit 124' TERM
        kill -TERM "$child" 2>/dev/null
        sleep 2
        kill -KILL "$child" 2>/dev/null
        exit 124
    ) </dev/null >/dev/null 2>&1 &
    guard=$!
    wait "$child"
    ended=$?
    child=
    kill "$guard" 2>/dev/null
    wait "$guard" 2>/dev/null
    [ $? = 124 ] && return 124
    return "$ended"
}

# point LINK TARGET: a symbolic link, made or changed in one step.
point() {
    rm -f "$1.new"
    ln -s "$2" "$1.new" || return 1
    mv -T -f "$1.new" "$1" 2>/dev/null && return
    has python3 && python3 -c 'import os, sys; os.replace(sys.argv[1], sys.argv[2])' "$1.new" "$1" && return
    rm -f "$1.new"
    return 1
}

child= lease=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 1' HUP INT TERM PIPE
printf '\n'
put begin "$$"
