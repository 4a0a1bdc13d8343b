"""Sleeping and blocking calls in both flavours, so that generated code only has to swap names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

sleep = time.sleep
async_sleep = asyncio.sleep


def call(function: Callable[..., T], *arguments: object) -> T:
    """Calls a blocking function here."""
    return function(*arguments)


async def async_call(function: Callable[..., T], *arguments: object) -> T:
    """Calls a blocking function in a thread."""
    return await asyncio.to_thread(function, *arguments)
