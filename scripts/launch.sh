# Sourced by the scripts that train and test: the environment to run in, and how many processes.

if [ "${CONDA_DEFAULT_ENV:-}" != segface ]; then
    export PATH="$PWD/.venv/bin:$PATH"
fi

# launch PROCESSES SCRIPT [flags]: one plain process, or one on each GPU under torchrun.
launch() {
    local processes=$1
    shift
    if [ "$processes" -eq 1 ]; then
        python "$@"
    else
        torchrun --standalone --nproc_per_node "$processes" "$@"
    fi
}
