# abandoned LOCK: whether the program that took a lock is gone. A lock is its process, the boot of
# the device, and its owner.
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown)
abandoned() {
    rest=${1#* }
    [ "${rest%% *}" != "$boot" ] || [ ! -d "/proc/${1%% *}" ]
}

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
