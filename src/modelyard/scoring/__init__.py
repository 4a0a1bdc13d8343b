"""Predictions for whole files, larger than memory: read in shards, answered in parallel, written in the input's order."""
