"""Tables: reading, schema inference, profile, split and preparation. Needs NumPy only (pyarrow for Parquet)."""
