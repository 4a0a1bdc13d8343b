"""What the jobs of workspaces may hold."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table
from modelyard.core.api import PoolView

app = typer.Typer(rich_markup_mode=None)
pools = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Show and set what the jobs of a workspace may hold.")
app.add_typer(pools, name="pools", epilog=examples("modelyard pools list", "modelyard pools set default --cores 2 --memory 8"))


@app.callback()
def _group() -> None:
    """Pools."""


@pools.command("list", epilog=examples("modelyard pools list"))
def list_pools(as_json: Json = False) -> None:
    """List what each workspace may hold, and what it does."""
    with connected() as client:
        found = client.pools.list()
    if as_json:
        print_json(found)
        return
    columns = ["workspace", "cores", "memory GiB", "GPUs", "jobs", "share", "running", "waiting"]
    print_table(columns, [_row(pool) for pool in found])


@pools.command("set", epilog=examples("modelyard pools set default --cores 2 --memory 8 --jobs 3"))
def set_pool(
    workspace: Annotated[str, typer.Argument(help="Name of the workspace.")],
    cores: Annotated[float, typer.Option(help="CPU cores; 0 lifts the bound.", min=0)] = 0.0,
    memory: Annotated[float, typer.Option(help="Memory in GiB; 0 lifts the bound.", min=0)] = 0.0,
    gpus: Annotated[int, typer.Option(help="GPUs; 0 lifts the bound.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="Jobs that run at the same time; 0 lifts the bound.", min=0)] = 0,
    share: Annotated[float, typer.Option(help="Weight beside other workspaces under the policy fair.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Set all bounds of a workspace; what is left out is unbounded."""
    with connected() as client:
        made = client.pools.set(workspace, cores=cores, memory_bytes=int(memory * 2**30), gpus=gpus, jobs=jobs, share=share)
    if as_json:
        print_json(made)
    else:
        print(f"Jobs of workspace {made.workspace} may hold {_bounds(made)}.")


def _row(pool: PoolView) -> tuple[object, ...]:
    memory = f"{_or_all(pool.memory_bytes / 2**30)} of {pool.platform_memory_bytes / 2**30:.1f}"
    return (
        pool.workspace,
        f"{_or_all(pool.cores)} of {pool.platform_cores:g}",
        memory,
        f"{_or_all(pool.gpus)} of {pool.platform_gpus}",
        _or_all(pool.jobs),
        f"{pool.share:g}",
        pool.running,
        pool.waiting,
    )


def _or_all(amount: float) -> str:
    return f"{amount:.4g}" if amount else "all"


def _bounds(pool: PoolView) -> str:
    bounds = [
        f"{pool.cores:g} cores" if pool.cores else "",
        f"{pool.memory_bytes / 2**30:.4g} GiB" if pool.memory_bytes else "",
        f"{pool.gpus} GPUs" if pool.gpus else "",
        f"{pool.jobs} jobs" if pool.jobs else "",
    ]
    return ", ".join(filter(None, bounds)) or "whatever is free"
