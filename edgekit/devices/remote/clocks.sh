# check_clocks: fails if the clocks cannot be set; it changes nothing.
# raise_clocks and restore_clocks: set the highest clocks for a measurement. The old clocks are
# saved in a file, and restored at every end of the program. An existing file is from a program that
# could not restore them: a loss of power, or a kill.

raised=
check_clocks() {
    has jetson_clocks || fail clocks "there is no jetson_clocks"
    said=$(sudo -n jetson_clocks --show 2>&1 </dev/null) || fail clocks "$said"
}

raise_clocks() {
    if [ -e "$root/clocks" ]; then
        raised=yes
        restore_clocks
    fi
    said=$(sudo -n jetson_clocks --store "$root/clocks" 2>&1 </dev/null) || fail clocks "$said"
    raised=yes
    said=$(sudo -n jetson_clocks 2>&1 </dev/null) || fail clocks "$said"
}

restore_clocks() {
    [ -n "$raised" ] || return 0
    raised=
    sudo -n jetson_clocks --restore "$root/clocks" >/dev/null 2>&1 </dev/null || return
    # root wrote the file, but the folder is the user's, whose sudo may allow jetson_clocks only
    rm -f "$root/clocks" 2>/dev/null || sudo -n rm -f "$root/clocks" </dev/null
}
