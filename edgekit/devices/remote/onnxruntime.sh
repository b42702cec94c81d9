# onnxruntime PYTHON LIMIT SECONDS PRECISION MODEL SIZES BEST ROOT NAME ID N PATH SHA256 …: runs the
# golden images in batches of each of SIZES and measures with batches of BEST, with the script of the
# release.
python=$1 limit=$2 seconds=$3 precision=$4 model=$5 sizes=$6 best=$7
shift 7
assemble "$@"
limited "$limit" "$python" "$work/.edgekit/runner.py" "$work/$model" "$work/golden.npz" \
    "$scratch" "$precision" "$seconds" "$sizes" "$best" >"$scratch/log" 2>&1
code=$?
held || fail changed "$root/lock"
tail -c 20000 "$scratch/log" >"$scratch/log.end"
send log "$scratch/log.end"
if [ "$code" != 0 ] || [ ! -f "$scratch/result.json" ]; then
    fail run "$code"
fi
check_pixels "$python"
send result "$scratch/result.json"
send outputs "$scratch/outputs.f32"
rm -rf "$scratch"
put end 0
