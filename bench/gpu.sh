#!/usr/bin/env bash
# Tests, bits, speed of every rule and of training, and the memory checker on this machine's GPU, in under eight minutes.
# Writes result files to a folder and prints a table of goals at the end. Cheap parts and goals come first; the sizes of
# one rule get the rest of the time.
#
#   bench/gpu.sh OUT_FOLDER                              in a fresh environment, with fastopt and its tests
#   PYTHON=... bench/gpu.sh --no-install OUT_FOLDER      in that interpreter's environment, without a network
#
# PYTHON is the interpreter, by default python3. With --no-install the checkout itself is imported; where it has no C
# extension, Numba is the CPU's backend. PyTorch and CuPy take part where they are installed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

install=yes
if [ "${1:-}" = --no-install ]; then
    install=no
    shift
fi
if [ $# -ne 1 ]; then
    echo "usage: [PYTHON=python3] bench/gpu.sh [--no-install] OUT_FOLDER" >&2
    exit 2
fi
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit
python=${PYTHON:-python3}
limit=${LIMIT:-460}
export PIP_DISABLE_PIP_VERSION_CHECK=1 MPLBACKEND=Agg PYTHONUNBUFFERED=1

if [ $install = yes ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv --system-site-packages "$work/env" && "$work/env/bin/pip" install -q ".[cuda,test]" || exit
    python=$work/env/bin/python
    cp -r tests bench csrc pyproject.toml "$work" && cd "$work" || exit
else
    export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
fi
# numba-cuda looks for its compiler's libraries in the environment's packages, then where this says.
if [ -z "${CUDA_PATH:-}${CUDA_HOME:-}" ] && nvcc=$(command -v nvcc); then
    CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    export CUDA_HOME
fi
SECONDS=0

left() { echo $((limit - SECONDS)); }
step() { printf '\n=== %s (%d s)\n' "$1" "$SECONDS"; }

# section NAME SECONDS COMMAND...: runs it for at most so many of the seconds left; its output goes to NAME.log too.
section() {
    local name=$1 most=$2
    shift 2
    step "$name"
    if [ "$(left)" -lt 50 ]; then
        echo "no time left" | tee "$out/$name.status"
        return 1
    fi
    [ "$most" -gt "$(left)" ] && most=$(left)
    timeout --signal=INT --kill-after=10 "$most" "$@" 2>&1 | tee "$out/$name.log"
    echo "${PIPESTATUS[0]}" >"$out/$name.status"
}

# speed NAME SECONDS ARGUMENTS...: a benchmark that starts no case after that time; writes gpu-NAME.json.
speed() {
    local name=$1 budget=$2 most=$(($(left) - 40))
    shift 2
    [ "$budget" -gt "$most" ] && budget=$most
    section "gpu-$name" $((budget + 60)) "$python" -m bench step --backend cuda --budget "$budget" \
        --out "$out/gpu-$name.json" "$@"
}

"$python" -c 'from fastopt.backends import get_backend; print(get_backend("cuda").describe())' || exit

section tests 75 "$python" -m pytest -q -p no:cacheprovider tests/test_gpu.py
section bits 100 "$python" -m bench.bits --sizes 1e6 1023 --steps 10 --out "$out/bits.json"
speed small 45 --rule sgd momentum adam --sizes 1e5 --kinds graph launch overhead --peers cuda-c torch-gpu-fused
speed rules 150 --rule all --dtype float32 float64 --sizes 1e8 --kinds memory step --peers cuda-c torch-gpu-fused
section gpu-train 70 "$python" -m bench train --backend cuda --sizes 784-128-10 784-1024-10 \
    --batches 32 128 1024 --seconds 0.5 --peers torch-gpu torch-gpu-graph --out "$out/gpu-train.json"
if command -v compute-sanitizer >/dev/null; then
    section memcheck 60 compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 9 \
        "$python" -m bench.bits --rules sgd adam rmsprop_centered_momentum --sizes 1e4 1023 --steps 2
else
    echo "compute-sanitizer is not installed" | tee "$out/memcheck.status"
fi
speed elements 20 --rule adam --dtype float32 float64 --sizes 5e7 --kinds step --peers elements
speed sizes 60 --rule adam --sizes 1e5 1e6 1e7 1e8 1e9 --kinds memory step graph \
    --peers cuda-c torch-gpu-fused torch-gpu-foreach cupy --plot "$out/gpu-sizes.png"

step "goals"
"$python" -m bench.goals "$out" | tee "$out/goals.txt"
