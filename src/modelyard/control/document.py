"""What a ``modelyard.yaml`` may say, as it reaches the server: local files have become uploads by then."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from modelyard.control.schemas import Body, Called, CardBody, Name, RatesBody, Short, Tags, TargetBody, Text, UploadedFile
from modelyard.core.access import Action, Role
from modelyard.core.durations import parse_duration
from modelyard.core.errors import ModelyardError
from modelyard.core.models import Reference
from modelyard.core.shares import LONGEST

Label = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class DeclaredVersion(Body):
    """A version that shall exist. One with the same files, metrics, tags and card is the same version."""

    files: Annotated[list[UploadedFile], Field(min_length=1, max_length=10_000)]
    entry: str = Field("", max_length=500)
    format: str = Field("onnx", max_length=63)
    card: CardBody = CardBody()
    tags: Tags = {}
    metrics: dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], float] = {}


class DeclaredModel(Body):
    """A model with its versions and aliases."""

    description: Text | None = None
    """Left as it is when left out."""
    tags: Tags | None = None
    """Left as they are when left out."""
    versions: Annotated[list[DeclaredVersion], Field(max_length=1000)] = []
    """Versions that shall exist, oldest first; others stay."""
    aliases: dict[Label, str | int] = Field({}, examples=[{"champion": 2}])
    """Alias → version number, or ``latest``."""


class DeclaredDeployment(Body):
    """A deployment."""

    targets: Annotated[list[TargetBody], Field(max_length=100)] = []
    """None for a deployment whose policy declares a graph."""
    policy: dict[str, Any] | None = None
    """Left as it is when left out."""
    accept_flagged: bool = False
    """Serve versions all the same that were flagged beside the ones they were optimized from."""


class DeclaredKey(Body):
    """A key, known by its label. Its secret is shown once, when it is created."""

    actions: Annotated[list[Action], Field(min_length=1)] = [Action.INFER]
    deployments: Annotated[list[Called], Field(max_length=1000)] = []
    networks: Annotated[list[Short], Field(max_length=100)] = Field([], examples=[["10.0.0.0/8"]])
    """Where it may be used from; empty for everywhere."""
    expires: str = Field("", examples=["90d"])
    """Time from its creation, like ``90d``; empty for never. Changing it does not touch a key that exists."""

    @field_validator("expires")
    @classmethod
    def _duration(cls, value: str) -> str:
        try:
            parse_duration(value)
        except ModelyardError as error:
            raise ValueError(error.message) from None
        return value


class DeclaredMember(Body):
    """What a person, or a service of the workspace, is in it."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=8)] = Field(examples=[["developer"]])
    trust: bool | None = None
    """Left as it is when left out."""
    service: bool = False
    """Make a service of this name if there is none."""


class DeclaredLimit(Body):
    """A limit: for one key, member or deployment, for the whole platform, or, when none of these is named, for the workspace."""

    limit: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(examples=["100/min"])
    key: Short = ""
    """A key's label."""
    member: Short = ""
    deployment: str = Field("", max_length=LONGEST)
    borrower: Short = Field("", examples=["birds"])
    """With a deployment: only calls of this workspace, which it is shared with."""
    platform: bool = False


class DeclaredPrice(RatesBody):
    """What calls cost from now on, where it is not what they cost already."""


def _by_name(value: Any, field: str) -> Any:
    """A list of things that carry their name, as a mapping from names to the rest."""
    if not isinstance(value, list):
        return value
    named: dict[str, Any] = {}
    for entry in value:
        name = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"each entry of a list needs {field!r}, a text")  # noqa: TRY004 - pydantic turns only ValueErrors into its own
        if name in named:
            raise ValueError(f"{name!r} stands there twice; join the entries")
        named[name] = {key: item for key, item in entry.items() if key != field}
    return named


def _expanded(value: Any) -> Any:
    """The short form of a deployment, ``name@version``, as the long one."""
    if not isinstance(value, str):
        return value
    try:
        wanted = Reference.parse(value)
    except ModelyardError as error:
        raise ValueError(error.message) from None
    return {"targets": [{"model": wanted.name, "version": wanted.version}]}


class Document(Body):
    """The state that shall be. Sections that are left out are left alone.

    Sections of named things are mappings by name; a list of entries that carry their ``name`` (keys: their ``label``) says the same.
    """

    models: dict[Name, DeclaredModel] | None = None
    deployments: dict[Name, DeclaredDeployment] | None = Field(None, examples=[{"penguins": "penguins@champion"}])
    """The short form of a deployment is ``name@version``."""
    keys: dict[Short, DeclaredKey] | None = None
    """By label."""
    workspaces: Annotated[list[Name], Field(max_length=1000)] | None = None
    """Workspaces that shall exist, for administrators; everything else in the document is of the workspace that it is applied to."""
    members: dict[Short, DeclaredMember] | None = None
    """By name."""
    limits: Annotated[list[DeclaredLimit], Field(max_length=8192)] | None = None
    prices: Annotated[list[DeclaredPrice], Field(max_length=8192)] | None = None
    shares: dict[Name, list[Name]] | None = Field(None, examples=[{"penguins": ["birds"]}])
    """Deployment → the workspaces that may call it."""

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: Any) -> Any:
        return _by_name(value, "name")

    @field_validator("deployments", mode="before")
    @classmethod
    def _deployments(cls, value: Any) -> Any:
        named = _by_name(value, "name")
        return {name: _expanded(wanted) for name, wanted in named.items()} if isinstance(named, dict) else named

    @field_validator("members", mode="before")
    @classmethod
    def _members(cls, value: Any) -> Any:
        return _by_name(value, "name")

    @field_validator("keys", mode="before")
    @classmethod
    def _keys(cls, value: Any) -> Any:
        return _by_name(value, "label")


class DocumentBody(Body):
    """A document of declared state, and whether what it does not name is to go."""

    document: Document
    prune: bool = False
    """Also delete the deployments, aliases, keys, members, limits and shares that the sections of the document do not name."""
