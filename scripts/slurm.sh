#!/usr/bin/env bash
# Train on the nodes of a Slurm cluster. Submit it in the repository's folder; its flags go to train.py:
#   sbatch --nodes 2 scripts/slurm.sh --dataset lapa --model swin_base
#   sbatch --nodes 2 --gpus-per-node 4 --time 12:00:00 scripts/slurm.sh --dataset lapa --model swin_base
# The repository, DATA_PATH and LOG_PATH must be on storage that all nodes share.
#
# Five minutes before its time is over the job saves, and requeues itself to go on from there; after a node failed it
# goes on, too. It goes on with any run of its --expt_name, so give a new run a new name. scancel saves and ends it.
# GPUS=N starts N processes on each node instead of one on each GPU; PORT=N has the nodes meet at port N of the first.
#SBATCH --job-name=segface
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=40
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# Slurm runs a copy of this file that lies elsewhere, so its own path does not lead to the repository.
cd "${SLURM_SUBMIT_DIR:?is not set: start this script with sbatch}"
if [ ! -f train.py ] || [ ! -f scripts/launch.sh ]; then
    echo "error: no train.py in $PWD; submit from the repository's folder, or with sbatch --chdir FOLDER" >&2
    exit 1
fi
source scripts/launch.sh

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=${PORT:-$((20000 + SLURM_JOB_ID % 10000))} # of its own, as jobs may share a node
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120       # seconds that torchrun gives its processes to save; 30 by default
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun no longer takes it from sbatch by itself

# One node that ends must not take the others down while they save; one that fails alone does, in two minutes.
srun --kill-on-bad-exit=0 --wait=120 \
    torchrun \
    --nnodes "$SLURM_NNODES" \
    --nproc_per_node "${GPUS:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv_backend c10d \
    --rdzv_endpoint "${nodes%%$'\n'*}:$port" \
    --rdzv_id "$SLURM_JOB_ID" \
    --max_restarts 3 \
    train.py "$@" --resume &
step=$!

# torchrun hands SIGTERM on to its processes, which save and end, and would die of SIGUSR1. It goes to the job's step:
# at a SIGTERM of its own, srun kills what it started.
signals=0 requeue=false
stop() {
    signals=$((signals + 1)) requeue=$1
    scancel --quiet --signal=TERM "$SLURM_JOB_ID.0" || true # it may just have ended
}
trap 'stop true' USR1
trap 'stop false' TERM

while true; do
    before=$signals
    wait "$step" && code=0 || code=$?
    [ "$signals" -ne "$before" ] || break # else it was the signal that ended the waiting
done
if [ "$requeue" = true ] && [ "$code" -ne 0 ]; then # a torchrun that was stopped ends with 1; 0 is the training's end
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
