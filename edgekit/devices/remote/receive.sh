# receive ROOT SHA256 OFFSET SIZE: appends the rest of a file from the input to its first part.
root=$1 sha=$2 offset=$3 wanted=$4
part=$root/store/$sha.partial
if [ "$offset" = 0 ]; then rm -f "$part"; else
    [ "$(size "$part")" = "$offset" ] || fail changed "$part"
fi
said=$(cat 2>&1 >>"$part") || fail write "$said"
[ "$(size "$part")" = "$wanted" ] || fail short "$(size "$part")"
if [ "$(digest "$part")" != "$sha" ]; then
    rm -f "$part"
    fail corrupt "$sha"
fi
mv "$part" "$root/store/$sha" || fail write "$part"
put end 0
