#!/usr/bin/env bash
# One volume on a TPU pod slice: the same command on every host of it, regions shared out over them.
#
#   launch/tpu_pod.sh TPU_NAME ZONE CONFIG WORKDIR STACK [--config.KEY=VALUE ...]
#   launch/tpu_pod.sh my-v4-32 us-central2-b configs/emgauss.py /mnt/shared/run /mnt/shared/s.ome.zarr
#
# The package is installed on every host, in ~/emgauss_jax, with pip install 'jax[tpu]'; workdir and
# stack lie on a disk that all of them mount. The same command goes on where it stopped.
set -euo pipefail
if [ $# -lt 5 ]; then
  echo "got $# arguments, wanted TPU_NAME ZONE CONFIG WORKDIR STACK" >&2
  exit 2
fi
name=$1 zone=$2 config=$3 workdir=$4 stack=$5
shift 5
# --hosts=auto: JAX asks the TPU which host this is
train=(python3 -m emgauss_jax.train --config="$config" --workdir="$workdir"
  --config.data.path="$stack" --hosts=auto "$@")
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd ~/emgauss_jax && $(printf '%q ' "${train[@]}")"
