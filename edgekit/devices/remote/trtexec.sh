# trtexec BUILD_LIMIT RUN_LIMIT BUILDS KEY CLOCKS INPUT SIDES IMAGES BYTES SIZES BEST MODEL PYTHON
#         WARM_UP ROOT NAME ID N PATH SHA256 …
# Builds an engine if there is none with this key, runs the golden images in batches of each of
# SIZES, and measures with batches of BEST. SIDES are those of an image of a dynamic batch; empty if
# the batch is fixed. A file of times begins with WARM_UP milliseconds of warm-up. The functions
# build_engine, run_engine and bench_engine call trtexec with its options.
build_limit=$1 run_limit=$2 builds=$3 key=$4 clocks=$5 input=$6 sides=$7 images=$8 bytes=$9
shift 9
sizes=$1 best_size=$2 model=$3 python=$4 warm_up=$5
shift 5
assemble "$@"
check_pixels "$python"
cd "$scratch" || fail write "$scratch"
ln -s "$work/$model" model.onnx

# batch FILE SIZE NUMBER: writes a batch of golden images; its last image fills it up.
batch() {
    dd if="$work/golden/inputs.raw" of="$1" bs="$bytes" skip="$(($2 * $3))" count="$2" 2>dd.log || fail write "$(cat dd.log)"
    missing=$(($2 * ($3 + 1) - images))
    [ "$missing" -gt 0 ] || return 0
    tail -c "$bytes" "$1" >last
    while [ "$missing" -gt 0 ]; do
        cat last >>"$1" || fail write "$1"
        missing=$((missing - 1))
    done
}

batch bench.raw "$best_size" 0
engine=$root/engines/$key.engine
trap restore_clocks EXIT
[ -z "$clocks" ] || check_clocks

killed() { dmesg 2>/dev/null | grep -i 'killed process.*trtexec' | tail -n 1; }

# give_up KIND CODE LOG
give_up() {
    held || fail changed "$root/lock"
    tail -c 20000 "$3" >log.end
    now_killed=$(killed)
    [ "$now_killed" = "$killed_before" ] || put killed "$(printf '%s' "$now_killed" | flat)"
    send log log.end
    fail "$1" "$2"
}

# median FILE: the median of the GPU's milliseconds in a file of times, after the warm-up.
median() {
    tr ',' '\n' <"$1" | awk -v warm_up="$warm_up" '
        /"startComputeMs" :/ {start = $NF}
        /"computeMs" :/ && start + 0 >= warm_up + 0 {print $NF}
    ' | sort -n | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'
}

killed_before=$(killed)
note=$root/engines/$key.txt
was=$(cat "$note" 2>/dev/null) || was='- 0'
if [ -f "$engine" ] && [ "$(digest "$engine")" = "${was% *}" ] && [ "${was#* }" -ge "$builds" ]; then
    put reused yes
else
    number=0 best= least=
    [ "$builds" -gt 1 ] && [ -n "$clocks" ] && raise_clocks
    while [ "$number" -lt "$builds" ]; do
        number=$((number + 1))
        put progress "builds engine $number of $builds"
        begun=$(date +%s)
        limit=$build_limit
        build_engine "--saveEngine=$number.engine" >build.log 2>&1
        code=$?
        [ "$code" = 0 ] && [ -s "$number.engine" ] || give_up build "$code" build.log
        put built $(($(date +%s) - begun))
        if [ "$builds" -gt 1 ]; then
            put progress "measures engine $number of $builds"
            limit=$run_limit
            bench_engine "--loadEngine=$number.engine" "--loadInputs=$input:bench.raw" "--exportTimes=$number.times" >run.log 2>&1
            code=$?
            [ "$code" = 0 ] && [ -s "$number.times" ] || give_up run "$code" run.log
            took=$(median "$number.times")
            if [ -z "$best" ] || awk "BEGIN {exit !($took < $least)}"; then best=$number least=$took; fi
        fi
    done
    best=${best:-1}
    echo "$(digest "$best.engine") $builds" >note
    mv "$best.engine" "$engine" || fail write "$engine"
    mv note "$note"
fi
put engine "$(size "$engine")"
ln "$engine" "$work/model.engine" 2>/dev/null || cp "$engine" "$work/model.engine" || fail write "$work/model.engine"
printf '%s %s\n' "$(cut -d ' ' -f 1 "$note")" model.engine >>"$work/.edgekit/files"

ln -s "$work/model.engine" model.engine
limit=$run_limit
for size in $sizes; do
    number=0
    while [ "$((size * number))" -lt "$images" ]; do
        put progress "runs golden images $((size * number + 1)) … of $images in batches of $size"
        batch run.raw "$size" "$number"
        output=output-$size-$number
        set -- --loadEngine=model.engine "--loadInputs=$input:run.raw" "--exportOutput=$output"
        [ -z "$sides" ] || set -- "$@" "--shapes=$input:${size}x$sides"
        run_engine "$@" >run.log 2>&1
        code=$?
        [ "$code" = 0 ] && [ -s "$output" ] || give_up run "$code" run.log
        send "$output" "$output"
        number=$((number + 1))
    done
done

put progress "measures"
[ -n "$clocks" ] && [ -z "$raised" ] && raise_clocks
watch=
if has tegrastats; then
    tegrastats --interval 200 >tegrastats.log 2>/dev/null </dev/null &
    watch=$!
fi
bench_engine --loadEngine=model.engine "--loadInputs=$input:bench.raw" --exportTimes=times --exportLayerInfo=layers >bench.log 2>&1
code=$?
[ -n "$watch" ] && kill "$watch" 2>/dev/null
restore_clocks
[ "$code" = 0 ] && [ -s times ] || give_up run "$code" bench.log
tensorrt_of bench.log >"$work/.edgekit/tensorrt"
: >>build.log
tail -c 20000 build.log >log.end
tail -c 20000 bench.log >>log.end
send log log.end
send times times
[ -f layers ] && send layers layers
: >>tegrastats.log
send tegrastats tegrastats.log
cd / && rm -rf "$scratch"
put end 0
