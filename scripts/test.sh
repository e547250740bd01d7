#!/usr/bin/env bash
# Test weights and print the table of class F1.
#   bash scripts/test.sh mobilenet_celeba_512                          a published name
#   bash scripts/test.sh logs/ckpts/swin_base_lapa_448/model_299.pt    a checkpoint
#   GPUS=8 bash scripts/test.sh WEIGHTS [further flags of test.py]     (default: one process)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

weights=${1:?"name weights: bash scripts/test.sh mobilenet_celeba_512, or the path of a checkpoint"}
shift
export PATH="$PWD/.venv/bin:$PATH"

torchrun --standalone --nproc_per_node "${GPUS:-1}" test.py --model_path "$weights" "$@"
