"""Bodies that people write, with examples, so that the OpenAPI document explains itself. Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

from modelyard.core.access import Action, Role
from modelyard.core.limits import Scope
from modelyard.core.shares import LONGEST


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


WrittenVersion = Annotated[str, BeforeValidator(_number_as_text), StringConstraints(max_length=63)]
"""A version number, which may be written as a number, or an alias."""
Text = Annotated[str, StringConstraints(max_length=10_000)]
Short = Annotated[str, StringConstraints(max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=63)]
Called = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
"""A deployment, the workspace's own or one that is shared with it."""
Tags = dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], Annotated[str, StringConstraints(max_length=500)]]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Body(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class UploadedFile(Body):
    """A file of an artifact, uploaded before."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(examples=["model.onnx"])
    """Path inside the artifact, with forward slashes."""
    digest: Digest
    """What the upload answered."""


class CardBody(Body):
    """The model card: what a caller should know before relying on a model."""

    summary: Text = ""
    intended_use: Text = ""
    out_of_scope: Text = ""
    training_data: Text = ""
    contact: Short = ""
    license: Short = Field("", examples=["Apache-2.0"])
    """An SPDX identifier, or a sentence."""
    text: Annotated[str, StringConstraints(max_length=200_000)] = ""
    """Anything else, as Markdown."""


class NewVersionBody(Body):
    """A model's next version, from uploaded files."""

    files: Annotated[list[UploadedFile], Field(min_length=1, max_length=10_000)]
    entry: str = Field("", max_length=500, examples=["model.onnx"])
    """Path of the file that the runtime opens; may be left out for a single file."""
    format: str = Field("onnx", max_length=63)
    """Name of the runtime that loads it."""
    card: CardBody = CardBody()
    tags: Tags = {}
    metrics: dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], float] = {}
    """Metrics measured elsewhere, by name."""


class ModelChanges(Body):
    """What to change of a model; what is left out stays."""

    description: Text | None = None
    tags: Tags | None = None


class AliasBody(Body):
    """The version that an alias shall point at."""

    version: WrittenVersion = Field(min_length=1, examples=["2"])
    """A version number, ``latest`` or another alias."""


class LimitsBody(Body):
    """What a job's process may use; 0 means the platform's default."""

    memory_bytes: int = Field(0, ge=0)
    wall_seconds: float = Field(0, ge=0)
    attempts: int = Field(0, ge=0, le=100)
    cores: float = Field(0, ge=0)
    gpus: int = Field(0, ge=0)


class PoolBody(Body):
    """What a workspace's jobs may hold at the same time; 0 means no bound but the platform's."""

    cores: float = Field(0, ge=0)
    memory_bytes: int = Field(0, ge=0)
    gpus: int = Field(0, ge=0)
    jobs: int = Field(0, ge=0)
    share: float = Field(1.0, gt=0)
    """Its weight beside other workspaces under the policy ``fair``."""


class NewJobBody(Body):
    """Long work to queue."""

    kind: Name = Field(examples=["train"])
    spec: dict[str, Any] = Field(examples=[{"recipe": {"target": "species", "name": "penguins"}, "dataset": "penguins@1"}])
    """The kind's own input. For ``train``: a data set and a recipe (its schema: GET /api/v1/schemas/recipe)."""
    priority: int = Field(0, ge=-1000, le=1000)
    """Higher runs sooner."""
    limits: LimitsBody = LimitsBody()


class ResumeBody(Body):
    """How a job goes on."""

    changes: dict[str, Any] = Field({}, examples=[{"recipe": {"learning": {"optimizer": {"learning_rate": 0.0001}}}}])
    """Laid over the spec of the job that ended."""


class TargetBody(Body):
    """A share of a deployment's traffic."""

    model: Name = Field(examples=["penguins"])
    version: WrittenVersion = Field("", examples=["champion"])
    """A number, an alias (followed when it moves), or ``latest`` (the newest now, fixed); empty for the champion, or the newest now."""
    weight: int = Field(100, ge=1, le=1_000_000)
    """Its share relative to the other targets'."""


class DeploymentBody(Body):
    """What a deployment shall route to."""

    targets: Annotated[list[TargetBody], Field(max_length=100)] = []
    """None for a deployment whose policy declares a graph."""
    policy: dict[str, Any] | None = Field(None, examples=[{"sticky": {"by": "key"}}])
    """What else holds for its calls (its schema: GET /api/v1/schemas/policy). Left as it is when left out; ``{}`` ends it."""
    revision: int = Field(0, ge=0)
    """The revision that was read before; the change is refused when somebody else was faster. 0 does not check."""
    accept_flagged: bool = False
    """Whether a version may answer callers that was flagged beside the version it was optimized from."""


class RolloutBody(Body):
    """What to decide of a rollout instead of its rules."""

    step: Literal["promote", "roll-back"]


class NewKeyBody(Body):
    """A key to issue."""

    label: Short = Field("", examples=["web shop"])
    actions: Annotated[list[Action], Field(min_length=1)] = [Action.INFER]
    """What it may do; never more than the caller."""
    deployments: Annotated[list[Called], Field(max_length=1000)] = Field([], examples=[["penguins"]])
    """Names it may call; empty for every deployment of the workspace."""
    networks: Annotated[list[Annotated[str, StringConstraints(max_length=60)]], Field(max_length=64)] = Field([], examples=[["10.0.0.0/8"]])
    """Networks it may be used from; empty for everywhere."""
    expires_seconds: float = Field(0, ge=0, le=100 * 366 * 86400)
    """Seconds until it expires; 0 for never."""
    principal: str = Field("", max_length=200, examples=["web-shop"])
    """The member whose key it is; the caller when left out."""


class RotationBody(Body):
    """How to give a key another secret."""

    overlap_seconds: float = Field(0, ge=0, le=90 * 86400, examples=[86400])
    """How long the secret before works on; 0 ends it at once."""


class WorkspaceBody(Body):
    """A workspace to make or rename."""

    name: Name = Field(examples=["birds"])
    revision: int | None = Field(None, ge=0)
    """For a change: the revision that was read before."""


class SignInBody(Body):
    """A person's name and password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class SignInKeyBody(SignInBody):
    """The same, for a key."""

    workspace: str = Field("", max_length=63)
    """Where the key shall work; may be left out by members of one workspace."""
    hours: float = Field(12, gt=0, le=24)


class NewPasswordBody(Body):
    """A one-time token, and the password that it sets."""

    token: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class ChangedPasswordBody(Body):
    """The password that was, and the one that shall be."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


class PersonBody(Body):
    """A person to add."""

    name: str = Field(min_length=1, max_length=200, examples=["ana"])
    display: Short = ""
    admin: bool = False
    """Whether it administers the platform."""


class PersonChanges(Body):
    """What to change of a person."""

    disabled: bool


class GroupRuleBody(Body):
    """What members of a group are."""

    group: Short = Field(min_length=1)
    workspace: str = Field("", max_length=63)
    roles: list[Role] = []
    trust: bool = False
    admin: bool = False


class ProviderBody(Body):
    """An OpenID provider."""

    issuer: Short = Field(examples=["https://login.example.org"])
    client_id: Short
    client_secret: str | None = Field(None, max_length=1000)
    """Left as it is when left out."""
    scopes: Short = "openid profile email"
    groups_claim: Short = "groups"
    mapping: Annotated[list[GroupRuleBody], Field(max_length=1000)] = []
    revision: int | None = Field(None, ge=0)
    """The revision that was read before (0: there was none)."""


class MemberBody(Body):
    """What somebody is in the workspace."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=8)] = Field(examples=[["developer"]])
    trust: bool | None = None
    """Whether it may also push and train what can run code of its own; left as it is when left out."""
    service: bool = False
    """Make a service of this name if there is none."""
    revision: int | None = Field(None, ge=0)
    """The revision that was read before (0: it was no member); the change is refused when somebody else was faster."""


class GarbageBody(Body):
    """What garbage to collect."""

    min_age_seconds: float = Field(86400.0, ge=0)
    """Only uploads older than this; never less than the platform's own floor."""


class SealBody(Body):
    """A key of an upstream endpoint."""

    url: str = Field(min_length=1, max_length=2000, examples=["https://api.example.com/v1"])
    """Where it may be sent to."""
    secret: SecretStr = Field(min_length=1, max_length=10_000)


class LimitBody(Body):
    """A limit to set."""

    scope: Scope
    """Whose use is counted together."""
    subject: str = Field("", max_length=200, examples=["penguins"])
    """The key's id, the member's or the deployment's name, ``deployment/workspace`` for one workspace's calls of a shared deployment;
    nothing for the workspace and the platform."""
    limit: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(examples=["100/min"])
    """How much in which time: ``100/min``, ``5000 rows/day``, ``10 USD/month``, ``1000 requests total``, ``4 concurrent``."""
    revision: int | None = Field(None, ge=0)
    """The revision that was read before (0: there was none); the change is refused when somebody else was faster. Left out, it is
    not checked."""


Money = Annotated[str, BeforeValidator(str), StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]


class RatesBody(Body):
    """What calls cost: amounts in the currency's unit, as text so that nothing is rounded."""

    deployment: str = Field("", max_length=63, examples=["penguins"])
    """Empty for every deployment that has no price of its own."""
    version: str = Field("", max_length=80, examples=["penguins@2"])
    """For one version only."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(examples=["USD"])
    call: Money = Field("0", examples=["0.0005"])
    row: Money = "0"
    tokens_in: Money = "0"
    """For 1000 tokens, like the next two."""
    tokens_out: Money = "0"
    tokens_cached: Money = "0"
    compute_second: Money = "0"
    explanation: Money = "0"
    cached_call: Money | None = Field(None, examples=["0.0001"])
    """For a call that was answered without computing, in place of all the rest; left out, it costs what any other call does."""


class PriceBody(RatesBody):
    """A price to add."""

    effective_ns: int = Field(0, ge=0)
    """From when on (nanoseconds since the epoch); 0 for now."""
