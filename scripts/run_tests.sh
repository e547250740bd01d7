#!/usr/bin/env bash
# Set up if need be, and run the tests.
#   bash scripts/run_tests.sh             all of them
#   bash scripts/run_tests.sh --quick     those that take seconds
# Further arguments go to pytest. JOBS=N runs N tests at once (2).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
if [ "${1:-}" = "--quick" ]; then
    shift
    set -- -m "not slow" "$@"
fi
exec .venv/bin/python -m pytest --numprocesses "${JOBS:-2}" "$@"
