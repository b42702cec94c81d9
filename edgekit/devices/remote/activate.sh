# activate ROOT NAME ID SIZE: reads the report from the input, renames the release, and changes the link
# `current` to it. `previous` links to the old release. If this release is active already, its changed
# files are replaced one by one, and their hashes last: an interrupted repair can be run again.
root=$1 base=$1/bundles/$2 id=$3 wanted=$4
work=$base/releases/.$id.partial
final=$base/releases/$id
[ -d "$work" ] || fail changed "$work"
said=$(cat 2>&1 >"$work/report.json") || fail write "$said"
[ "$(size "$work/report.json")" = "$wanted" ] || fail short "$work/report.json"
was=$(readlink "$base/current" 2>/dev/null)
sync

# replace PATH: moves a file of the new folder into the active release.
replace() {
    said=$(mkdir -p "$final/${1%/*}" 2>&1 && mv -f "$work/$1" "$final/$1" 2>&1) || fail write "$said"
}

if [ "$was" = "releases/$id" ] && [ -d "$final" ]; then
    while read -r sha path; do
        [ "$(digest "$final/$path" 2>/dev/null)" = "$sha" ] || replace "./$path"
    done <"$work/.edgekit/files"
    [ ! -e "$work/.edgekit/tensorrt" ] || replace .edgekit/tensorrt
    replace .edgekit/files
    replace ./report.json
    rm -rf "$work"
else
    [ -n "$was" ] && [ -d "$base/$was" ] || was=
    # Another user's files in it, such as those of a container, could not be removed.
    [ ! -e "$final" ] || mv "$final" "$base/releases/.$$.partial" || fail write "$final"
    mv "$work" "$final" || fail write "$final"
    if [ -n "$was" ]; then point "$base/previous" "$was" || fail write "$base/previous"; fi
    point "$base/current" "releases/$id" || fail write "$base/current"
fi
sync
now=$(readlink "$base/current")
before=$(readlink "$base/previous" 2>/dev/null)
for release in "$base"/releases/* "$base"/releases/.*.partial; do
    case "releases/${release##*/}" in
        "$now" | "$before") ;;
        *) rm -rf "$release" 2>/dev/null ;;
    esac
done
if [ ! -e "$root/copies" ]; then
    find "$root/store" "$root/engines" -type f -links 1 -mtime +1 ! -name '*.txt' -exec rm -f {} \;
    for note in "$root"/engines/*.txt; do [ -e "${note%.txt}.engine" ] || rm -f "$note"; done
fi
put current "$now"
put previous "$before"
put end 0
