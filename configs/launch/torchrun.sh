#!/bin/bash
# One run on several machines without a scheduler. On each of them, with the same other arguments:
#   NODES=2 NODE=0 GPUS=8 FIRST=node0 configs/launch/torchrun.sh pretrain/mae.py --run.out /shared/run …
#   NODES=2 NODE=1 GPUS=8 FIRST=node0 configs/launch/torchrun.sh pretrain/mae.py --run.out /shared/run …
# NODE counts from 0, FIRST is the address of number 0 and PORT (29500) free on it. The same command goes on
# after a stop. Shards and run.out lie on storage that all of them see.
set -euo pipefail
# Seconds that a run has to save after a stop signal; 30 are too few for large models.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-150}
exec torchrun --nnodes "${NODES:?how many machines}" --node-rank "${NODE:?which of them this is, from 0}" \
    --nproc-per-node "${GPUS:?processes on each}" --master-addr "${FIRST:?address of machine 0}" \
    --master-port "${PORT:-29500}" "$@"
