# raise_clocks and restore_clocks: the highest clocks while something is measured. What was is kept
# in a file, and set again whatever ends the program. A file that is there is from a program that
# nothing could end in order: a loss of power, or a kill.

raised=
raise_clocks() {
    has jetson_clocks || fail clocks "there is no jetson_clocks"
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
    sudo -n jetson_clocks --restore "$root/clocks" >/dev/null 2>&1 </dev/null && sudo -n rm -f "$root/clocks" </dev/null
}
