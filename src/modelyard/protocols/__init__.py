"""Inference protocols: each translates in, calls the one data plane, and translates out."""
