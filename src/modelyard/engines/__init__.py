"""Where jobs run: an engine starts, limits and ends their processes."""
