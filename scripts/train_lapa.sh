#!/usr/bin/env bash
# Train on LaPa as the paper does, on 8 GPUs or as many as GPUS says.
#   bash scripts/train_lapa.sh MODEL [RESOLUTION] [further flags of train.py]
#   GPUS=4 bash scripts/train_lapa.sh swin_base 448 --resume
exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" lapa segface_lapa 4 "$@"
