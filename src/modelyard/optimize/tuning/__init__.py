"""Searches passes and ways of running for the one that meets an objective, measured on a real server of this machine."""
