# rollback ROOT NAME OWNER STALE: locks the device, and exchanges `current` and `previous`, after
# every file of the older release was hashed. TensorRT loads no engine of another version.
root=$(home "$1")
base=$root/bundles/$2
if [ -d "$root" ]; then
    check_writable "$2"
    take_lock "$3" "$4"
fi
if [ ! -d "$base" ]; then
    for bundle in "$root"/bundles/*/current; do
        bundle=${bundle%/current}
        [ -d "$bundle" ] && put bundle "${bundle##*/}"
    done
    fail none "$2"
fi
now=$(readlink "$base/current" 2>/dev/null)
before=$(readlink "$base/previous" 2>/dev/null)
[ -n "$before" ] && [ -d "$base/$before" ] && [ "$before" != "$now" ] || fail single "$now"
[ -f "$base/$before/.edgekit/files" ] || fail damaged .edgekit/files
while read -r sha path; do
    [ "$(digest "$base/$before/$path" 2>/dev/null)" = "$sha" ] || fail damaged "$path"
done <"$base/$before/.edgekit/files"
built=$(cat "$base/$before/.edgekit/tensorrt" 2>/dev/null)
if [ -n "$built" ]; then
    hear
    engine_tools
    present=$(tensorrt_of "$heard")
    rm -f "$heard"
    [ -z "$present" ] || [ "$present" = "$built" ] || fail outdated "$built $present"
fi
point "$base/current" "$before" || fail write "$base/current"
point "$base/previous" "$now" || fail write "$base/previous"
sync
put current "$before"
put previous "$now"
put end 0
