# begin ROOT BUNDLE OWNER STALE PYTHON SHA256…: prints the facts, takes the lock, and
# lists the existing files. The lock is held until the input ends, so also until a connection breaks.
root=$(home "$1") bundle=$2 owner=$3 stale=$4 python=$5
shift 5
facts "$root" "$python"
check_writable "$bundle"
[ -n "$(digest /dev/null 2>/dev/null)" ] || fail tool sha256sum
has readlink || fail tool readlink
said=$(mkdir -p "$root" 2>&1 && mkdir -p "$root/store" "$root/engines" "$root/bundles" 2>&1) || fail unwritable "$said"
put root "$root"

take_lock "$owner" "$stale"

for sha do
    file=$root/store/$sha
    if [ -f "$file" ]; then
        [ "$(digest "$file")" = "$sha" ] && put have "$sha" && continue
        rm -f "$file"
    fi
    [ -f "$file.partial" ] && put partial "$sha $(size "$file.partial") $(digest "$file.partial")"
done
put space "$(free "$root")"
put current "$(readlink "$root/bundles/$bundle/current" 2>/dev/null)"
put end 0
cat >/dev/null
