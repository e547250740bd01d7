"""What scripts/benchmark.py measures, one file for each subject."""
