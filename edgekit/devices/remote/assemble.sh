# held: whether this deployment still has its lock.
held() { [ "$(readlink "$root/lock")" = "$lease" ]; }

# assemble ROOT NAME ID N PATH SHA256 … (N pairs): makes a release from the files of the
# store, next to the existing releases. Sets root, base, work and scratch.
assemble() {
    root=$1
    base=$root/bundles/$2
    work=$base/releases/.$3.partial
    scratch=$root/scratch
    pairs=$4
    shift 4
    said=$(rm -rf "$work" "$scratch" 2>&1) || fail write "$said"
    said=$(mkdir -p "$work/.edgekit" "$scratch" 2>&1) || fail write "$said"
    lease=$(readlink "$root/lock") || fail changed "$root/lock"
    while [ "$pairs" -gt 0 ]; do
        case $1 in */*) mkdir -p "$work/${1%/*}" ;; esac
        if ! ln "$root/store/$2" "$work/$1" 2>/dev/null; then
            said=$(cp "$root/store/$2" "$work/$1" 2>&1) || fail write "$said"
            : >"$root/copies"
        fi
        printf '%s %s\n' "$2" "$1" >>"$work/.edgekit/files"
        pairs=$((pairs - 1))
        shift 2
    done
}
