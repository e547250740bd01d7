#!/usr/bin/env bash
# Make .venv and install requirements.txt into it. Running it again takes seconds, unless the requirements changed.
#   bash scripts/setup.sh                        with python3
#   PYTHON=python3.12 bash scripts/setup.sh      with another Python (>= 3.10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "error: $("$python" --version 2>&1 || echo "$python: not found"); SegFace needs Python >= 3.10." >&2
    echo "Install it, or name another one: PYTHON=python3.12 bash scripts/setup.sh" >&2
    exit 1
fi

stamp=.venv/requirements.installed
if cmp -s requirements.txt "$stamp" && .venv/bin/python -c 'import torch' 2>/dev/null; then
    echo "Up to date: .venv has everything in requirements.txt."
    exit 0
fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making .venv with $("$python" --version)"
    if ! "$python" -m venv --clear .venv; then
        echo "error: $python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi
rm -f "$stamp"
echo "Installing requirements.txt into .venv (PyTorch is some gigabytes; about two minutes)"
.venv/bin/python -m pip install --disable-pip-version-check --requirement requirements.txt
cp requirements.txt "$stamp"
echo "Done. Activate it with: source .venv/bin/activate"
