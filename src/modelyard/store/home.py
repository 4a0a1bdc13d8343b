"""The layout of a home: the folder that holds everything one platform keeps on its machine."""

from __future__ import annotations

from pathlib import Path

LAYOUT = 1
"""Version of the layout below; ``up`` upgrades an older home after a backup and refuses a newer one."""


class Home:
    """Paths inside a home. Nothing here creates or opens anything but ``create``."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.layout_file = self.root / "LAYOUT"
        self.database = self.root / "modelyard.db"
        self.blobs = self.root / "blobs"
        """Content-addressed files, when no other blob URL is set."""
        self.artifacts = self.root / "cache" / "artifacts"
        """Artifacts laid out as folders, by digest; may be deleted when nothing runs."""
        self.environments = self.root / "cache" / "environments"
        """Virtual environments that models brought, by digest; may be deleted when nothing runs."""
        self.programs = self.root / "programs"
        """Programs that replicas start, each in an environment of its own; ``modelyard install`` makes them."""
        self.journal = self.root / "journal"
        """Usage segments that workers append to."""
        self.snapshot = self.root / "snapshot"
        """Published state that workers act on."""
        self.jobs = self.root / "jobs"
        """One folder a job: spec, inputs, log, progress, result."""
        self.predictions = self.root / "predictions"
        """Stored requests and results of asynchronous predictions."""
        self.batches = self.root / "batches"
        """Uploaded files of calls, and the files of their answers."""
        self.feedback = self.root / "feedback"
        """What users reported of answers, until it is in the database."""
        self.refusals = self.root / "refusals"
        """Which rights callers were refused, until it is in the audit log."""
        self.run = self.root / "run"
        """Lock, process ids, workers' reports: meaningful only while the platform runs."""
        self.hosting = self.run / "hosting"
        """What a container contract's callers want loaded and unloaded, and what came of it."""
        self.replicas = self.run / "replicas"
        """One folder a replica process, with its socket."""
        self.limits = self.root / "limits"
        """The machine's counters of limits; they outlive the platform's processes."""
        self.logs = self.root / "logs"
        self.audit_heads = self.root / "audit-heads.jsonl"
        """Signed states of the audit log, kept outside the database."""
        self.temporary = self.root / "tmp"
        """Unfinished uploads; emptied at start."""

    @property
    def private_url_file(self) -> Path:
        """Holds the address at which this platform's own processes call workers."""
        return self.run / "private-url"

    @property
    def lock_file(self) -> Path:
        """Locked with flock by the supervisor for as long as the platform runs."""
        return self.run / "lock"

    def create(self) -> None:
        """Makes every folder that is missing, readable by the owner only."""
        for folder in (
            self.root,
            self.blobs,
            self.artifacts,
            self.journal,
            self.snapshot,
            self.jobs,
            self.predictions,
            self.batches,
            self.feedback,
            self.refusals,
            self.run,
            self.limits,
            self.logs,
            self.temporary,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
