"""Each environment build and each run as a cached Flyte task."""
