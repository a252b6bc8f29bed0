#!/usr/bin/env bash
# One volume on several GPUs of this machine: a process for each, regions shared out over them.
#
#   launch/multi_gpu.sh GPUS CONFIG WORKDIR STACK [--config.KEY=VALUE ...]
#   launch/multi_gpu.sh 0,1,2,3 configs/emgauss.py runs/mine stack.ome.zarr
#
# The volume should be OME-Zarr, N5 or precomputed, and be cut into as many regions as there are
# GPUs or more (config.block.region). Ctrl-C or SIGTERM ends all; the same command goes on.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "got $# arguments, wanted GPUS CONFIG WORKDIR STACK" >&2
  exit 2
fi
IFS=, read -ra gpus <<<"$1"
config=$2 workdir=$3 stack=$4
shift 4
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
for i in "${!gpus[@]}"; do
  CUDA_VISIBLE_DEVICES=${gpus[i]} python -m emgauss_jax.train \
    --config="$config" --workdir="$workdir" --config.data.path="$stack" \
    --hosts="${#gpus[@]},$i" "$@" &
done
# the first process that fails ends the others
for _ in "${gpus[@]}"; do wait -n; done
