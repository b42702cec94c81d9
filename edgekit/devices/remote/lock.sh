# abandoned LOCK: whether the program that took a lock is gone. A lock is its process, the boot of
# the device, and its owner.
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown)
abandoned() {
    rest=${1#* }
    [ "${rest%% *}" != "$boot" ] || [ ! -d "/proc/${1%% *}" ]
}
