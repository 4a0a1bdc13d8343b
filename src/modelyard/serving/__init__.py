"""The protocol-neutral data plane, and the reconciler that keeps it as wished."""
