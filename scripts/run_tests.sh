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
jobs=${JOBS:-2}
cores=$(.venv/bin/python -c 'import os; print(os.cpu_count() or 1)')
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > jobs ? cores / jobs : 1))} # threads that wait for a core cost most
exec .venv/bin/python -m pytest --numprocesses "$jobs" "$@"
