"""Deploying and undeploying."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from modelyard.cli.connection import connected
from modelyard.cli.declared import read_document
from modelyard.cli.output import Json, examples, note, print_json
from modelyard.core.deployments import Target
from modelyard.core.errors import NotFound
from modelyard.core.models import Reference
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Deployments."""


@app.command(
    "deploy",
    epilog=examples(
        "modelyard deploy penguins@champion",
        "modelyard deploy penguins@2 --name penguins-next",
        "modelyard deploy penguins@1 penguins@2 --weight 90 --weight 10",
        "modelyard deploy shouter@1 --replicas 0-3",
        "modelyard deploy penguins@1 --before clean.py --after verdict@2",
    ),
)
def deploy(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="REFERENCE...", help="NAME@NUMBER, or NAME@ALIAS to follow an alias.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name that clients call; by default the model's.")] = "",
    weight: Annotated[list[int], typer.Option(help="Share of the calls, one for each reference in order.")] = [],  # noqa: B006 - Typer copies it
    policy: Annotated[str, typer.Option(metavar="FILE", help="YAML or JSON file with the deployment's policy.")] = "",
    replicas: Annotated[
        str, typer.Option(help="Replica processes, like 2, or 0-3 to follow the calls; any other policy of the deployment stays.")
    ] = "",
    accept_flagged: Annotated[
        bool, typer.Option("--accept-flagged", help="Serve a version all the same that was flagged beside the one it was optimized from.")
    ] = False,
    before: Annotated[
        list[str],
        typer.Option(metavar="PYTHON", help="What calls go through first: a Python file, to be pushed, or NAME@VERSION; may be repeated."),
    ] = [],  # noqa: B006 - Typer copies it
    after: Annotated[list[str], typer.Option(metavar="PYTHON", help="The same for what the model gives.")] = [],  # noqa: B006 - Typer copies it
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every worker serves it.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Serve a version, follow an alias, or split calls between several versions."""
    references = references or []
    if not references and not (policy and name):
        raise typer.BadParameter("Name a version, or give --name and a --policy with a graph.", param_hint="REFERENCE")
    if policy and replicas:
        raise typer.BadParameter("Give either --policy, which may say 'replicas', or --replicas.", param_hint="--replicas")
    if weight and len(weight) != len(references):
        raise typer.BadParameter(f"{len(references)} references need as many weights; {len(weight)} were given.", param_hint="--weight")
    with connected() as client:
        shares = weight or [100] * len(references)
        targets = [_target(client, reference, share) for reference, share in zip(references, shares, strict=True)]
        name = name or targets[0].model
        rules = read_document(policy) if policy else None
        rules = client.deployments.with_steps(name, before=before, after=after, policy=rules)
        found = client.deployments.put(name, targets, policy=_policy(client, name, replicas, rules), accept_flagged=accept_flagged)
        if wait:
            found = client.deployments.wait(found.name, timeout=timeout)
    if as_json:
        versions = list(found.versions)
        document = {"deployment": found.name, "version": versions[0] if versions else None, "versions": versions, "url": found.url}
        print_json(document | {"state": found.state, "targets": msgspec.to_builtins(found.targets)})
        return
    serving = ", ".join(f"{target.model}@{target.version}" for target in found.targets) or "its graph"
    note(f"{found.name} is {found.state} and serves {serving}." if wait else f"{found.name} shall serve {serving}.")
    print(found.url)


@app.command("undeploy", epilog=examples("modelyard undeploy penguins"))
def undeploy(name: Annotated[str, typer.Argument(help="Name of the deployment.")], as_json: Json = False) -> None:
    """Stop serving a deployment; calls in flight are answered."""
    with connected() as client:
        client.deployments.delete(name)
    if as_json:
        print_json({"deployment": name, "deleted": True})
    else:
        print(f"{name} is not served any more.")


def _policy(client: Client, name: str, replicas: str, rules: dict[str, Any] | None) -> dict[str, Any] | None:
    """The deployment's policy, or the given rules, with other replicas; None leaves it as it is."""
    if not replicas:
        return rules
    low, dash, high = replicas.partition("-")
    if not low.isdigit() or (dash and not high.isdigit()):
        raise typer.BadParameter(f"{replicas!r} is no number of processes; write 2, or 0-3 to follow the calls.", param_hint="--replicas")
    policy = client.deployments.policy(name) if rules is None else rules
    kept = policy.get("replicas") or {}
    return policy | {"replicas": kept | {"min": int(low), "max": max(1, int(high or low))}}


def _target(client: Client, text: str, weight: int) -> Target:
    """A target whose alias exists; a bare name means the champion, or the newest version where there is none."""
    reference = Reference.parse(text)
    model = client.models.get(reference.name)
    version = reference.version
    if version not in {"", "latest"} and not version.isdigit() and version not in model.aliases:
        newest = model.latest or 1
        raise NotFound(
            f"Model {model.name!r} has no alias {version!r}; set it first with: modelyard promote {model.name}@{newest} --alias {version}"
        )
    return Target(model=model.name, version=version, weight=weight)
