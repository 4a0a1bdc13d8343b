"""Adapters to the libraries that load and run models: one file per format, one line in ``detect.RUNTIMES``."""
