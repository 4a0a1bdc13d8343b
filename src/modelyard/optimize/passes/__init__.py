"""One optimization a module."""
