#!/usr/bin/env bash
# Train on Helen as the paper does, on 8 GPUs or as many as GPUS says.
#   bash scripts/train_helen.sh MODEL [RESOLUTION] [further flags of train.py]
#   GPUS=4 bash scripts/train_helen.sh swin_base 448 --resume
exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" helen segface_helen 2 "$@"
