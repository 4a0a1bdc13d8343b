"""Which version answered: with weights or a moving alias it need not be the one whose signature decoded the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature
from modelyard.protocols.call import Call

if TYPE_CHECKING:
    from modelyard.serving.dataplane import ServedView


def answered_signature(call: Call, view: ServedView, response: InferResponse) -> Signature:
    """The signature of the version that computed ``response``; class names must never come from another one.

    Raises NotFound when that version was withdrawn in the meantime.
    """
    if response.version == view.number and response.model == view.model:
        return view.signature
    return call.plane.served(call.grant.workspace_id, call.name, str(response.version)).signature
