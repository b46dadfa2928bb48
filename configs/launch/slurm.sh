#!/bin/bash
# Two nodes with eight GPUs each, under Slurm: sbatch configs/launch/slurm.sh pretrain/mae.py --config … --run.out …
# Change the #SBATCH lines to your cluster's. Shards, .venv and the run folder lie on storage that all nodes see.
#SBATCH --job-name=biofm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Three minutes before the time is over, this script is told; it lets the run save, and queues it again.
#SBATCH --signal=B:TERM@180

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
source "${BIOFM_VENV:-.venv}/bin/activate"

gpus=${SLURM_GPUS_ON_NODE:-8}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export NODES=$SLURM_NNODES GPUS=$gpus FIRST=$first PORT=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=$((${SLURM_CPUS_PER_TASK:-$gpus} / gpus))

# One launcher a node; they meet at the first node. Each node knows its own SLURM_NODEID, hence the single quotes.
# For FSDP2 or ZeRO, in place of configs/launch/torchrun.sh "$@":
#   exec accelerate launch --config_file configs/accelerate/fsdp2_8.yaml --num_machines "$NODES" \
#     --num_processes "$((NODES * GPUS))" --machine_rank "$NODE" --main_process_ip "$FIRST" \
#     --main_process_port "$PORT" "$@"
srun --kill-on-bad-exit=0 bash -c 'NODE=$SLURM_NODEID exec configs/launch/torchrun.sh "$@"' launch "$@" &
step=$!

stopped=
# srun passes the signal to the launchers, they to the training processes, which save, agree on the step and leave.
trap 'stopped=yes; kill -TERM "$step"' TERM

status=0
wait "$step" || status=$?
if [[ $stopped ]]; then
    wait "$step" || true # the first wait ended with the signal, this one with the run
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
