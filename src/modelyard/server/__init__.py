"""The running product: settings, wiring, supervision, fronts and the entry points of its processes."""
