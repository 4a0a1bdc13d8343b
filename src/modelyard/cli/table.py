"""Every command with where its code is, so that help and completion load none of it."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the section of the help it stands in, the module with its Typer app, and its line in the help."""

    section: str
    module: str
    summary: str


RUN, MODELS, SERVE, GOVERN = "Run the platform", "Make models", "Deploy and call", "Govern"
COMMANDS: dict[str, Entry] = {
    "demo": Entry(RUN, "modelyard.cli.showcase", "Show the whole way on a real table."),
    "up": Entry(RUN, "modelyard.cli.lifecycle", "Start the platform on this machine."),
    "down": Entry(RUN, "modelyard.cli.lifecycle", "Stop the platform on this machine."),
    "status": Entry(RUN, "modelyard.cli.status", "Show processes, deployments and jobs."),
    "install": Entry(RUN, "modelyard.cli.installing", "Make an environment with a program that replicas start, like vLLM."),
    "top": Entry(RUN, "modelyard.cli.top", "Show what the machine, processes, jobs and replicas use."),
    "train": Entry(MODELS, "modelyard.cli.training", "Train a model on a table, images or a time series."),
    "optimize": Entry(MODELS, "modelyard.cli.optimizing", "Make smaller, faster children of a version, measured beside it."),
    "tune": Entry(MODELS, "modelyard.cli.tuning", "Find the best way of running a version that keeps an objective."),
    "push": Entry(MODELS, "modelyard.cli.pushing", "Register a model you bring."),
    "models": Entry(MODELS, "modelyard.cli.models", "List models."),
    "versions": Entry(MODELS, "modelyard.cli.models", "List the versions of a model."),
    "show": Entry(MODELS, "modelyard.cli.models", "Show one version in full."),
    "compare": Entry(MODELS, "modelyard.cli.compare", "Show versions side by side, or a version with its children."),
    "report": Entry(MODELS, "modelyard.cli.reporting", "Write the report of a version as one HTML page."),
    "promote": Entry(MODELS, "modelyard.cli.aliases", "Point an alias at a version."),
    "rollback": Entry(MODELS, "modelyard.cli.aliases", "Point an alias back at what it meant before."),
    "jobs": Entry(MODELS, "modelyard.cli.jobs", "List jobs."),
    "logs": Entry(MODELS, "modelyard.cli.jobs", "Show what a job or a deployment wrote."),
    "resume": Entry(MODELS, "modelyard.cli.jobs", "Go on where a job has ended."),
    "cancel": Entry(MODELS, "modelyard.cli.jobs", "End a job."),
    "pools": Entry(MODELS, "modelyard.cli.pools", "Show and set what jobs of a workspace may hold."),
    "deploy": Entry(SERVE, "modelyard.cli.deployments", "Serve a version or an alias."),
    "rollout": Entry(SERVE, "modelyard.cli.rollout", "Show and end the rollout of a version."),
    "undeploy": Entry(SERVE, "modelyard.cli.deployments", "Stop serving a deployment."),
    "chat": Entry(SERVE, "modelyard.cli.chatting", "Talk with a language model."),
    "predict": Entry(SERVE, "modelyard.cli.predict", "Call a deployment with rows of a file."),
    "batch": Entry(SERVE, "modelyard.cli.scoring", "Answer every row of a file."),
    "dev": Entry(SERVE, "modelyard.cli.dev", "Serve a Python model while you write it."),
    "seal": Entry(GOVERN, "modelyard.cli.sealing", "Seal a key of an endpoint that serves a model elsewhere."),
    "bench": Entry(SERVE, "modelyard.cli.bench", "Measure throughput and latency of a deployment."),
    "workspaces": Entry(GOVERN, "modelyard.cli.workspaces", "Create, list, rename and remove workspaces."),
    "members": Entry(GOVERN, "modelyard.cli.members", "Say who is what in a workspace."),
    "people": Entry(GOVERN, "modelyard.cli.people", "Add, list, invite and disable people."),
    "password": Entry(GOVERN, "modelyard.cli.people", "Set your password with a one-time token."),
    "login": Entry(GOVERN, "modelyard.cli.people", "Sign in with a password, for a key that is valid for hours."),
    "providers": Entry(GOVERN, "modelyard.cli.people", "Say which OpenID providers people sign in with."),
    "me": Entry(GOVERN, "modelyard.cli.members", "Show who you are, and what you may call."),
    "share": Entry(GOVERN, "modelyard.cli.shares", "Let another workspace call a deployment."),
    "unshare": Entry(GOVERN, "modelyard.cli.shares", "End a share."),
    "shares": Entry(GOVERN, "modelyard.cli.shares", "List what is shared with other workspaces, and by them."),
    "keys": Entry(GOVERN, "modelyard.cli.keys", "Create, list, rotate and revoke API keys."),
    "certificates": Entry(GOVERN, "modelyard.cli.certificates", "Let client certificates stand for keys."),
    "limits": Entry(GOVERN, "modelyard.cli.limits", "Set, list and remove limits and budgets."),
    "prices": Entry(GOVERN, "modelyard.cli.limits", "Set and list what calls cost."),
    "usage": Entry(GOVERN, "modelyard.cli.usage", "Show what calls used."),
    "invoice": Entry(GOVERN, "modelyard.cli.invoice", "Show what a month costs."),
    "trace": Entry(GOVERN, "modelyard.cli.usage", "Show where the answer of one call came from."),
    "audit": Entry(GOVERN, "modelyard.cli.audit", "Show, check and export who changed what."),
    "apply": Entry(GOVERN, "modelyard.cli.declared", "Make the platform what a file says."),
    "backup": Entry(GOVERN, "modelyard.cli.maintenance", "Write everything the platform keeps to one file."),
    "restore": Entry(GOVERN, "modelyard.cli.maintenance", "Make a home from a backup."),
    "gc": Entry(GOVERN, "modelyard.cli.maintenance", "Delete stored bytes that nothing refers to."),
}
