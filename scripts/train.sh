#!/usr/bin/env bash
# Train with the paper's settings; train_celeb.sh, train_lapa.sh and train_helen.sh call it with their dataset.
#   bash scripts/train.sh DATASET HEAD BATCH_SIZE MODEL [RESOLUTION] [further flags of train.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dataset=$1 head=$2 batch_size=$3
shift 3
if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
    echo "error: name an encoder, such as swin_base; 'python train.py --help' lists them" >&2
    exit 1
fi
model=$1 resolution=512
shift
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    resolution=$1
    shift
fi
source scripts/launch.sh

launch "${GPUS:-8}" train.py \
    --ckpt_path ckpts \
    --expt_name "${model//\//_}_${dataset}_$resolution" \
    --dataset "$dataset" \
    --backbone "$head" \
    --model "$model" \
    --lr 1e-4 \
    --lr_schedule 80,200 \
    --lr_schedule_gamma 0.1 \
    --weight_decay 1e-5 \
    --input_resolution "$resolution" \
    --train_bs "$batch_size" \
    --epochs 300 \
    --seed 32 \
    "$@"
