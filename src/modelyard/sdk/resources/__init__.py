# Generated from async_resources/__init__.py by scripts/unasync.py; edit that file and run the script.
"""One file per resource of the management API."""
