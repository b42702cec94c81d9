# abandoned LOCK: whether the program that took a lock is gone. A lock is its process, the boot of
# the device, and its owner.
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown)
abandoned() {
    rest=${1#* }
    [ "${rest%% *}" != "$boot" ] || [ ! -d "/proc/${1%% *}" ]
}

# check_writable BUNDLE: fails if this user cannot write a folder that a release of a bundle needs, or
# if something else has the name of a link.
check_writable() {
    for folder in "$root" "$root/store" "$root/engines" "$root/bundles" "$root/bundles/$1" \
        "$root/bundles/$1/releases"; do
        [ -e "$folder" ] || continue
        [ -d "$folder" ] || fail unwritable "$folder is not a folder"
        [ -w "$folder" ] && [ -x "$folder" ] || fail unwritable "$folder belongs to $(owner_of "$folder") or is read-only"
    done
    for link in "$root/lock" "$root/bundles/$1/current" "$root/bundles/$1/previous"; do
        [ -L "$link" ] || [ ! -e "$link" ] || fail unwritable "$link is not a link"
    done
}

owner_of() { ls -ld "$1" 2>/dev/null | awk '{print $3}'; }

# take_lock OWNER STALE: locks $root until this program ends. STALE is a lock whose owner is known to
# be gone; empty if there is none.
take_lock() {
    mine="$$ $boot $1"
    tries=0
    until said=$(ln -s "$mine" "$root/lock" 2>&1); do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || fail write "$said"
        held=$(readlink "$root/lock") || continue
        [ "$held" = "$2" ] || abandoned "$held" || fail locked "$held"
        mv "$root/lock" "$root/lock.$$" 2>/dev/null || continue
        moved=$(readlink "$root/lock.$$")
        rm -f "$root/lock.$$"
        [ "$moved" = "$held" ] || ln -s "$moved" "$root/lock" 2>/dev/null
    done
    trap '[ "$(readlink "$root/lock")" != "$mine" ] || rm -f "$root/lock"' EXIT
    trap 'exit 1' HUP INT TERM PIPE
}
