#!/usr/bin/env bash
# Test weights and print the table of class F1.
#   bash scripts/test.sh mobilenet_celeba_512                          a published name
#   bash scripts/test.sh logs/ckpts/swin_base_lapa_448/model_299.pt    a checkpoint
#   GPUS=8 bash scripts/test.sh WEIGHTS [further flags of test.py]     (default: one process)
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: name weights: bash scripts/test.sh mobilenet_celeba_512, or the path of a checkpoint" >&2
    exit 1
fi
weights=$1
shift
if [ -e "$weights" ]; then
    weights=$(realpath "$weights")
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/launch.sh

launch "${GPUS:-1}" test.py --model_path "$weights" "$@"
