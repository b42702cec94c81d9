# describe ROOT PYTHON
facts "$1" "$2"
for bundle in "$(home "$1")"/bundles/*; do
    current=$(readlink "$bundle/current" 2>/dev/null) || continue
    [ -d "$bundle/$current" ] || continue
    put bundle "$current $(readlink "$bundle/previous" 2>/dev/null || echo -) ${bundle##*/}"
done
put end 0
