"""Modules that are started as processes: ``python -m modelyard.server.entrypoints.<name>``."""
