#!/usr/bin/env bash
# See everything work, without any data: set up, draw faces, train on them, test, and make pictures of the result.
#   bash scripts/demo.sh                             all of it; after Ctrl-C the same command goes on where it was
#   bash scripts/demo.sh --epochs 5                  flags go to train.py
#   bash scripts/demo.sh --dataset lapa              the same with the layout, classes and landmarks of LaPa, or helen
#   DEMO=other TRAIN=64 bash scripts/demo.sh         another folder than demo/; TRAIN, VAL and TEST are numbers of faces
set -euo pipefail
demo=$(mkdir -p "${DEMO:=$(dirname "${BASH_SOURCE[0]}")/../demo}" && cd -P "$DEMO" && pwd)
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
trap 'exit 130' INT # training that is stopped ends well, but there is nothing to test yet

# flag NAME DEFAULT [arguments]: what the arguments say of --NAME.
flag() {
    local name=$1 value=$2
    shift 2
    while [ $# -gt 0 ]; do
        case "$1" in
        "--$name") value=${2:-} ;;
        "--$name="*) value=${1#*=} ;;
        esac
        shift
    done
    echo "$value"
}
dataset=$(flag dataset celebamask_hq "$@" | tr 'A-Z-' 'a-z_')
model=$(flag model mobilenet "$@")
resolution=$(flag input_resolution 128 "$@")
run=$(flag expt_name "demo_${dataset}_${model//\//_}_$resolution" "$@")

if [ "${CONDA_DEFAULT_ENV:-}" != segface ]; then
    bash scripts/setup.sh
fi
source scripts/launch.sh
export DATA_PATH=$demo/data LOG_PATH=$demo/logs
workers=$(python -c 'import os; print(min(8, max(1, os.cpu_count() // 2)))')

echo "1/3  Drawing faces"
python -m datasets.synthetic --layout "$dataset" --out "$DATA_PATH/$dataset" --size 256 --seed 0 \
    --train "${TRAIN:-1500}" --val "${VAL:-60}" --test "${TEST:-200}"

echo "2/3  Training"
python train.py --expt_name "$run" --dataset "$dataset" --model "$model" --pretrained none \
    --input_resolution "$resolution" --epochs 6 --lr 1e-3 --lr_schedule 4,5 --lr_schedule_gamma 0.5 \
    --train_bs 8 --val_bs 8 --num_workers "$workers" --save_interval 1000 --resume "$@"

echo "3/3  Testing on faces that it has not seen"
python test.py --expt_name "$run" --dataset "$dataset" --test_bs 8 --num_workers "$workers" "$@"

folder=$LOG_PATH/$(flag ckpt_path ckpts "$@")/$run
echo
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
echo "Look at  $folder/samples/gallery.png   faces with truth and prediction"
echo "         $folder/curves.png            how the training went"
