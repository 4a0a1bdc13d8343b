"""A model with an adapter, as the loop sees it: what is kept of it is the adapter alone, because its base never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
from torch import nn


class Adapted(nn.Module):
    """A base of transformers with what peft laid over it. Subclasses say what is put in and what comes out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]  # of all its forms the plain one is used
        found: dict[str, Any] = peft.get_peft_model_state_dict(self.model)
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        del strict, assign
        return peft.set_peft_model_state_dict(self.model, dict(state_dict))
