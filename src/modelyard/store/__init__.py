"""Where things are kept: rows in a database, files as content-addressed blobs, and the layout of a home."""
