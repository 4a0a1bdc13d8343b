"""One file per resource of the management API."""
