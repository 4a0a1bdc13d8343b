"""Models that the callers of a container contract load and unload by name, as plain data."""

from __future__ import annotations

from enum import StrEnum

import msgspec

NAME_TAG, URL_TAG = "contract_model", "contract_url"
"""Tags of a version that was loaded this way: the name that it is called by, and where it came from."""


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is loaded: what its caller calls it, where it came from, and the deployment that it became."""

    name: str
    url: str
    deployment: str


class Verb(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the contract's caller wants of one model. ``url`` is a folder or file of this machine, or a URL."""

    verb: Verb
    name: str
    url: str = ""


class Came(StrEnum):
    """What came of a wish."""

    DONE = "done"  # all workers act on it
    THERE = "there"  # a model of this name is loaded already
    NOT_THERE = "not_there"  # no model of this name is loaded
    NO_ROOM = "no_room"  # memory or disk do not suffice
    REFUSED = "refused"  # the model cannot be served
    LATER = "later"  # the controller cannot say yet


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a wish, with a sentence for whoever asked."""

    came: Came
    message: str = ""
