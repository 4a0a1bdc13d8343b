"""What a prediction of a file is asked for: plain data between controller and job."""

from __future__ import annotations

from typing import Literal

import msgspec

Form = Literal["csv", "parquet"]
Engine = Literal["local", "ray"]

ROWS = 16_384
"""Of a shard: few enough that all cores end nearly together, as many as make a file for each cheap."""


class ScoringSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As it is stored: the version fixed by its number, its files and the data by their digests."""

    reference: str
    """``name@number`` of the version that answers."""
    version_id: int = 0
    deployment: str = ""
    """What the usage is counted to, where a deployment was named."""
    entry: str
    files: dict[str, str]
    """Path inside the artifact → SHA-256."""
    data: str
    """SHA-256 of the table."""
    filename: str
    dataset: str
    """``name@number`` of the table."""
    keep: tuple[str, ...] = ()
    """Columns of the table that go beside the predictions."""
    form: Form | Literal[""] = ""
    """Of the result; by default that of the table."""
    partitioned: bool = False
    """One archive with a file a shard, instead of one file."""
    rows: int = ROWS
    """Most rows of a shard."""
    engine: Engine = "local"
    """Whose cores compute: this machine's, or those of the Ray cluster that the settings name."""
