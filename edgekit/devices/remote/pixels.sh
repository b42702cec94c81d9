# check_pixels PYTHON: compares the pixels that Pillow makes on the device from a photo with the
# golden ones, by the manifest of the release in $work. An empty PYTHON means that there is none.
check_pixels() {
    [ -n "$1" ] || { put pixels "unchecked the device has no python3"; return; }
    limited 120 "$1" "$work/.edgekit/check_pixels.py" "$work" >"$scratch/pixels" 2>&1
    ended=$?
    if [ "$ended" = 0 ]; then put pixels "$(tail -n 1 "$scratch/pixels" | flat)"
    else put pixels "unchecked the program that checks it ended with $ended: $(tail -n 1 "$scratch/pixels" | flat)"
    fi
}
