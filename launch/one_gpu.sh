#!/usr/bin/env bash
# Fit one volume on one GPU of this machine (or on the CPU, where there is none).
#
#   launch/one_gpu.sh GPU CONFIG WORKDIR STACK [--config.KEY=VALUE ...]
#   launch/one_gpu.sh 0 configs/emgauss.py runs/mine stack.ome.tif
#
# Started again with the same arguments, it goes on where it stopped.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "got $# arguments, wanted GPU CONFIG WORKDIR STACK" >&2
  exit 2
fi
gpu=$1 config=$2 workdir=$3 stack=$4
shift 4
CUDA_VISIBLE_DEVICES=$gpu exec python -m emgauss_jax.train \
  --config="$config" --workdir="$workdir" --config.data.path="$stack" "$@"
