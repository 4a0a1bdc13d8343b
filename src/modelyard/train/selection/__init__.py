"""Choosing columns: methods that rank them or choose among them, all judged in the same way. Everything is learned from training rows."""
