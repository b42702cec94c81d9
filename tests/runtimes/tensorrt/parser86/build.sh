#!/usr/bin/env bash
# build.sh FOLDER HEADERS: FOLDER/parse, which runs the ONNX parser of TensorRT 8.6.0 without a GPU. HEADERS is the folder include/ of the branch
# release/8.6 of github.com/NVIDIA/TensorRT, which no package ships. Downloads the wheel of TensorRT once: 1 GB, of which 280 MB stay.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage="usage: build.sh FOLDER HEADERS"
folder=$(mkdir -p "${1:?$usage}" && cd "$1" && pwd)
headers=$(cd "${2:?$usage}" && pwd)
lib=$folder/lib
if [ ! -f "$lib/libnvonnxparser.so.8" ]; then
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.10 --implementation cp --platform manylinux_2_17_x86_64 \
    --dest "$folder" tensorrt==8.6.0
  python3 -m zipfile --extract "$folder"/tensorrt-8.6.0-*.whl "$folder/wheel"
  mkdir -p "$lib"
  find "$folder/wheel" \( -name 'libnvonnxparser.so*' -o -name 'libnvinfer.so*' -o -name 'libnvinfer_plugin.so*' \) -exec mv -t "$lib" {} +
  rm -r "$folder/wheel" "$folder"/tensorrt-8.6.0-*.whl
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
# The plugin library links cuBLAS and cuDNN, which a parser never calls: empty functions of the same names satisfy the loader.
for name in libcublas.so.12 libcublasLt.so.12 libcudnn.so.8; do
  nm -D --undefined-only "$lib/libnvinfer_plugin.so.8" | sed -n "s/.* U \([A-Za-z0-9_]*\)@$name\$/void \1(void){}/p" > "$work/empty.c"
  echo "$name { global: *; };" > "$work/empty.map"
  gcc -shared -fPIC -w -Wl,-soname,"$name" -Wl,--version-script="$work/empty.map" -o "$lib/$name" "$work/empty.c"
done
# Of CUDA, TensorRT's headers want the names of two handles.
printf 'typedef struct CUstream_st* cudaStream_t;\ntypedef struct CUevent_st* cudaEvent_t;\n' > "$work/cuda_runtime_api.h"
python3 "$here/stubs.py" "$headers/NvInferImpl.h" > "$work/stubs.h"
g++ -std=c++17 -O1 -w -I"$work" -I"$headers" -o "$folder/network" "$here/network.cpp" "$lib/libnvonnxparser.so.8" -Wl,-rpath-link,"$lib" \
  -Wl,--allow-shlib-undefined
# Tests compile the C++ example against the same headers.
mkdir -p "$folder/include"
cp "$headers"/*.h "$folder/include/"
printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$lib" "$folder/network" > "$folder/parse"
chmod +x "$folder/parse"
