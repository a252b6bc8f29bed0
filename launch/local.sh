#!/usr/bin/env bash
# One volume on this machine, on its GPU if it has one. On many GPUs: multi_gpu.sh.
#
#   launch/local.sh CONFIG WORKDIR STACK [--config.KEY=VALUE ...]
#   launch/local.sh configs/emgauss.py runs/mine stack.ome.tif
#
# Started again with the same arguments, it goes on where it stopped.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "got $# arguments, wanted CONFIG WORKDIR STACK" >&2
  exit 2
fi
config=$1 workdir=$2 stack=$3
shift 3
exec python -m emgauss_jax.train \
  --config="$config" --workdir="$workdir" --config.data.path="$stack" "$@"
