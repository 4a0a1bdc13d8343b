"""Steps of the schema, oldest first; each file in ``versions/`` is one, and none is edited once released."""
