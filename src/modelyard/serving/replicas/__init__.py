"""Replica processes: what runs in them, how workers reach them, and how many of them run."""
