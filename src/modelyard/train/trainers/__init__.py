"""Model families: one file each, and one line in ``families.py``."""
