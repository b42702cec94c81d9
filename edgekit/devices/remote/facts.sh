# facts ROOT PYTHON: the facts of the device and its runtimes. Files are read below
# $EDGEKIT_SYSROOT, which is only set in tests.

show() { [ -r "$below/$1" ] && put path "$1 $(head -n 1 "$below/$1" 2>/dev/null | flat)"; }

facts() {
    below=${EDGEKIT_SYSROOT:-}
    put clock "$(date +%s)"
    put architecture "$(uname -m)"
    put kernel "$(uname -r)"
    put boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
    for name in etc/nv_tegra_release proc/device-tree/model sys/class/dmi/id/sys_vendor \
        sys/class/dmi/id/product_name proc/loadavg; do
        show "$name"
    done
    for name in "$below"/sys/class/devfreq/*/min_freq "$below"/sys/class/devfreq/*/max_freq; do
        [ -r "$name" ] && show "${name#"$below"/}"
    done
    put memory "$(awk '/^MemTotal/ {print $2}' "$below/proc/meminfo" 2>/dev/null)"
    put available "$(awk '/^MemAvailable/ {print $2}' "$below/proc/meminfo" 2>/dev/null)"
    put swap "$(awk '/^SwapTotal/ {print $2}' "$below/proc/meminfo" 2>/dev/null)"
    put os "$(sed -n 's/^PRETTY_NAME=//p' "$below/etc/os-release" 2>/dev/null | tr -d '"')"
    put cores "$(grep -c '^processor' "$below/proc/cpuinfo" 2>/dev/null)"
    put flags "$(sed -n 's/^flags[^:]*: //p' "$below/proc/cpuinfo" 2>/dev/null | head -n 1)"
    has nvpmodel && put nvpmodel "$(nvpmodel -q 2>/dev/null </dev/null | flat)"
    has nvidia-smi && put gpu "$(nvidia-smi --query-gpu=compute_cap,name --format=csv,noheader 2>/dev/null </dev/null | head -n 1)"
    hear
    engine_tools
    interpreter "$2"
    rm -f "$heard"
    folder=$(home "$1")
    while [ ! -d "$folder" ] && [ "$folder" != / ] && [ -n "$folder" ]; do folder=${folder%/*}; done
    put free "$(free "${folder:-/}")"
}

# Searches trtexec at the places of JetPack, Debian and the tar files of TensorRT.
engine_tools() {
    trtexec=
    for place in "$(command -v trtexec)" /usr/src/tensorrt/bin/trtexec /opt/tensorrt/bin/trtexec \
        /usr/local/tensorrt/bin/trtexec; do
        [ -n "$place" ] && [ -x "$place" ] && trtexec=$place && break
    done
    if [ -n "$trtexec" ]; then
        put trtexec "$trtexec"
        limited 30 "$trtexec" --help >"$heard" 2>&1
        put trtexec-code "$?"
        put trtexec-banner "$(grep 'TensorRT v' "$heard" | head -n 1 | flat)"
    fi
    for library in $( (ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null) | sed -n 's/.*libnvinfer\.so[.0-9]* .*=> //p'); do
        put libnvinfer "$(readlink -f "$library" 2>/dev/null)"
    done
}

# interpreter PYTHON: the versions of Python and its packages; of python3 if PYTHON is empty. The
# name of a package is printed before its import, because the import may crash.
interpreter() {
    case $1 in
        '~/'*) python=$HOME/${1#??} ;;
        *) python=${1:-python3} ;;
    esac
    if ! has "$python"; then
        [ -n "$1" ] || return
        rm -f "$heard"
        fail python "$1"
    fi
    put python "$(command -v "$python")"
    limited 60 "$python" -c '
import importlib, sys
print("python", "%d.%d.%d" % sys.version_info[:3])
for name in ("numpy", "onnxruntime"):
    print("importing", name, flush=True)
    try:
        print(name, importlib.import_module(name).__version__)
    except Exception as error:
        print(name + "-problem", type(error).__name__, str(error).split("\n")[0])
' >"$heard" 2>/dev/null
    code=$?
    importing=
    while read -r key value; do
        case $key in
            importing) importing=$value ;;
            *)
                importing=
                put "version-$key" "$value"
                ;;
        esac
    done <"$heard"
    [ -z "$importing" ] || put "version-$importing-problem" "$(ending "$code")"
}

# ending CODE: how a program that did not finish ended.
ending() {
    case $1 in
        124) echo "it did not end within 60 s" ;;
        132) echo "Python crashed with 132, an illegal instruction" ;;
        *) echo "Python ended with $1" ;;
    esac
}
