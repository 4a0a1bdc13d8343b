"""Names that are made of others."""

from __future__ import annotations

import re
from pathlib import Path


def model_name(text: str) -> str:
    """A model's name made of a file's or dataset's name."""
    stem = re.sub(r"\.(csv|tsv|txt|parquet|data|zip|npz)$", "", Path(text).name, flags=re.IGNORECASE).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem)[:63].strip("-._") or "model"
