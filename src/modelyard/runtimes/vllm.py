"""Language models on GPUs by vLLM: a program in an environment of its own, started and watched by the replica that answers for it.

The folder is one that ``save_pretrained`` wrote; ``vllm.json`` in it holds options that are passed on to ``vllm serve``. The program is
installed (see ``programs``) or named by the administrator, never by the folder. It listens on a Unix socket that only this user can
reach, because its API key does not guard all of its routes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidArtifact, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, FinishReason, GenerateRequest, GenerationUsage, TokenChunk
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.base import GenerativeModel, LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.generative.text import TextCodec
from modelyard.runtimes.vllm_protocol import ChunkReader, body_of

logger = logging.getLogger(__name__)
OPTIONS = "vllm.json"
START_SECONDS = 1800.0
"""Loading a large model and compiling its graphs takes minutes."""
STOP_SECONDS = 20.0
CLOSED = "The model is being unloaded; try again shortly."
GONE = "vLLM has ended; the replica is started again, try again shortly."
_OURS = frozenset(
    {"model", "host", "port", "uds", "api-key", "served-model-name", "root-path", "ssl-keyfile", "ssl-certfile", "config", "middleware"}
)
"""Options that this runtime sets itself, or that would open another door."""
_CODE = frozenset(
    {"trust-remote-code", "logits-processors", "logits-processor-pattern", "chat-template", "worker-cls", "tool-parser-plugin"}
)
"""Options that run code of the model's maker, or read files by name."""
STRUCTURED = "structured-outputs-config"
"""How it follows grammars: where white space is free, weak models write nothing else."""
_LAST_LINES = 20
_ERROR = re.compile(r"\b\w*Error: .*")
_POINTS_BACK = "See root cause above"


class VllmModel(GenerativeModel):
    """A running server and the calls to it, made from an event loop in a thread of its own."""

    def __init__(self, codec: TextCodec, context_length: int, server: Server) -> None:
        self.context_length, self.has_template = context_length, codec.has_template
        self._codec, self._server = codec, server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._client = server.client()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        if self._closed:
            emit(Unavailable(CLOSED, retry_after=1.0))
            return lambda: None
        made: list[asyncio.Task[None]] = []

        def begin() -> None:
            made.append(self._loop.create_task(self._generate(request, emit)))
            self._tasks.add(made[0])
            made[0].add_done_callback(self._tasks.discard)

        def cancel() -> None:
            if not self._closed:
                # A step later than it was made, so that it has begun and says how it ended.
                self._loop.call_soon_threadsafe(lambda: self._loop.call_soon(made[0].cancel))

        self._loop.call_soon_threadsafe(begin)
        return cancel

    def ended(self) -> str:
        return "" if self._closed else self._server.ended()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()
        self._server.stop()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _generate(self, request: GenerateRequest, emit: Emit) -> None:
        began_ns = time.monotonic_ns()
        used = GenerationUsage()
        try:
            left_s = (request.deadline_ns - began_ns) / 1e9 if request.deadline_ns else None
            prompt = await asyncio.to_thread(self._read, request)
            used = GenerationUsage(tokens_in=len(prompt))
            if request.sampling.max_tokens == 0:
                text = self._codec.decode(prompt)
                emit(TokenChunk(text=text, token_ids=tuple(prompt), finish=FinishReason.LENGTH, last=True, usage=used))
                return
            reader = ChunkReader(request.n, len(prompt), self._codec.vocabulary.raw)
            async with asyncio.timeout(left_s):
                async for chunk in self._chunks(request, prompt, reader, began_ns):
                    used = chunk.usage
                    emit(chunk)
        except ModelyardError as error:
            emit(error)
        except TimeoutError:
            emit(DeadlineExceeded("The time for this call has passed."))
        except UNREADABLE:
            logger.warning("vLLM's stream cannot be read")
            emit(Internal("vLLM answered something that cannot be read."))
        except httpx.HTTPError as error:
            logger.warning("vLLM cannot be reached: %s", error)
            emit(Unavailable(GONE, retry_after=2.0))
        except asyncio.CancelledError:
            closing = Unavailable(CLOSED, retry_after=1.0)
            emit(closing if self._closed else TokenChunk(finish=FinishReason.CANCELLED, last=True, usage=used))

    def _read(self, request: GenerateRequest) -> list[int]:
        """The prompt's ids; raises InvalidRequest, also for a grammar that is none, as every runtime says it."""
        if request.grammar is not None:
            self._codec.vocabulary.matcher(request.grammar)
        return self._codec.encode(request)

    async def _chunks(
        self, request: GenerateRequest, prompt: Sequence[int], reader: ChunkReader, began_ns: int
    ) -> AsyncIterator[TokenChunk]:
        room = self.context_length - len(prompt)
        if room < 1:
            raise InvalidRequest(
                f"The prompt has {len(prompt)} tokens; the model's context holds {self.context_length}, and some must be left to answer."
            )
        wanted = request.sampling.max_tokens
        body = body_of(request, prompt, room if wanted is None else min(room, wanted))
        queue_us = 0
        async with self._client.stream("POST", "/v1/completions", content=msgspec.json.encode(body)) as reply:
            if reply.status_code != 200:
                await reply.aread()
                raise _refusal(reply)
            async for line in reply.aiter_lines():
                now_us = (time.monotonic_ns() - began_ns) // 1000
                queue_us = queue_us or now_us
                for chunk in reader.line(line, queue_us, now_us - queue_us):
                    yield chunk
                if reader.whole:
                    return
        raise Unavailable(GONE, retry_after=2.0)


class Server:
    """The process. ``program`` is what starts vLLM, like ``/opt/vllm/bin/vllm``."""

    def __init__(self, program: str, folder: Path, options: Mapping[str, Any]) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="vllm-"))
        self._socket = self._place / "s"
        command = [program, "serve", str(folder), "--uds", str(self._socket), "--served-model-name", "model", *arguments_of(options)]
        command.append("--enable-prompt-tokens-details")
        if STRUCTURED not in options:
            command += arguments_of({STRUCTURED: {"backend": "guidance", "disable_any_whitespace": True}})
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._cause = ""
        """What one of its own processes failed with, which its last words only point at."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                errors="replace",
            )
        except OSError as error:
            shutil.rmtree(self._place, ignore_errors=True)
            raise Unavailable(
                f"vLLM cannot be started as {program!r}: {error.strerror}; correct MODELYARD_VLLM_COMMAND, or install it again."
            ) from error
        self._reading = threading.Thread(target=self._read, name="vllm-log", daemon=True)
        self._reading.start()

    def client(self) -> httpx.AsyncClient:
        """For calls from an event loop."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), limits=httpx.Limits(max_connections=None))
        headers = {"content-type": "application/json"}
        return httpx.AsyncClient(base_url="http://vllm", transport=transport, headers=headers, timeout=httpx.Timeout(None, connect=10.0))

    def wait(self, seconds: float) -> None:
        """Until it answers.

        Raises InvalidArtifact with its own last words when it ends before.
        """
        until = time.monotonic() + seconds
        with httpx.Client(base_url="http://vllm", transport=httpx.HTTPTransport(uds=str(self._socket)), timeout=5.0) as client:
            while time.monotonic() < until:
                status = self._process.poll()
                if status is not None:
                    self._reading.join(5.0)
                    raise InvalidArtifact(f"vLLM ended with status {status} while it loaded the model: {self._last_words()}")
                if self._listens() and client.get("/health").status_code == 200:
                    return
                time.sleep(0.1)
        self.stop()
        raise Unavailable(f"vLLM did not answer within {seconds:g} s.")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trial:
            return trial.connect_ex(str(self._socket)) == 0

    def ended(self) -> str:
        """How it ended, in its own last words; empty while it runs."""
        status = self._process.poll()
        return "" if status is None else f"vLLM ended with status {status}: {self._last_words()}"

    def stop(self) -> None:
        """Ends the process, and forgets its socket."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._place, ignore_errors=True)

    def _read(self) -> None:
        """Its output goes into the replica's log."""
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    self._said.append(line.strip())
                    if (error := _ERROR.search(line)) and _POINTS_BACK not in line:
                        self._cause = error[0].strip()
                    logger.info("vLLM: %s", line.rstrip())

    def _last_words(self) -> str:
        telling = [line for line in self._said if "Error" in line or "error:" in line] or list(self._said) or ["it said nothing"]
        last = self._cause if _POINTS_BACK in telling[-1] and self._cause else telling[-1]
        return last[:300].rstrip(".") + "."


class VllmRuntime(Runtime):
    """See the module. The one runtime that starts a process; without a program, as at push, it loads the tokenizer only."""

    name = "vllm"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        if not (folder / entry).is_file():
            raise InvalidArtifact(f"The file {entry!r} is missing from the artifact.")
        given = read_options(folder)
        config = _config(folder)
        codec = TextCodec(folder, int(config.get("vocab_size") or 0))
        length = int(given.get("max-model-len") or config.get("max_position_embeddings") or 0)
        if length < 1:
            raise InvalidArtifact(f"Neither config.json nor {OPTIONS} says how long a context is; set max-model-len in {OPTIONS}.")
        if not options.program:
            return Untried(length, codec.has_template)
        server = Server(options.program, folder, given)
        server.wait(START_SECONDS)
        return VllmModel(codec, length, server)


class Untried(GenerativeModel):
    """What is known of a model on a machine that does not run it."""

    tried = False

    def __init__(self, context_length: int, has_template: bool) -> None:
        self.context_length, self.has_template = context_length, has_template

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:  # noqa: ARG002 - the seam's form
        emit(Unavailable("This server has no vLLM; its administrator installs one with 'modelyard install vllm'."))
        return lambda: None

    def close(self) -> None:
        """There is nothing to free."""


def read_options(folder: Path) -> dict[str, Any]:
    """What ``vllm.json`` says, by the names of the command line without their dashes.

    Raises InvalidArtifact for what may not be passed on.
    """
    path = folder / OPTIONS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArtifact(f"{OPTIONS} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidArtifact(f'{OPTIONS} must hold an object of options, like {{"max-model-len": 8192}}.')
    options = {str(name).lstrip("-").replace("_", "-"): value for name, value in found.items()}
    for name, value in options.items():
        if name in _OURS:
            raise InvalidArtifact(f"{OPTIONS} sets {name!r}, which the platform sets itself; leave it out.")
        if name in _CODE:
            raise InvalidArtifact(f"{OPTIONS} sets {name!r}, which can run code or open files of anybody's choosing; leave it out.")
        if not all(part.isalnum() for part in name.split("-")):
            raise InvalidArtifact(f"{OPTIONS} has an option {name[:64]!r}, which is no option's name.")
        if not isinstance(value, str | int | float | bool | dict | list):
            raise InvalidArtifact(f"The value of {name!r} in {OPTIONS} must be a text, a number, true, false, a list or an object.")
    return options


def arguments_of(options: Mapping[str, Any]) -> list[str]:
    """Options as the command line has them."""
    found: list[str] = []
    for name, value in options.items():
        if value is False:
            found.append(f"--no-{name}")
        elif value is True:
            found.append(f"--{name}")
        elif isinstance(value, dict):
            found.append(f"--{name}={json.dumps(value)}")
        elif isinstance(value, list):
            found += [f"--{name}", *map(str, value)]
        else:
            found.append(f"--{name}={value}")
    return found


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise InvalidArtifact("The model has no config.json that could be read; push the whole folder.")
    return found


def _refusal(reply: httpx.Response) -> ModelyardError:
    try:
        told = msgspec.json.decode(reply.content)
        error = told.get("error") or told if isinstance(told, dict) else {}
        message = " ".join(str(error.get("message", "it gave no reason")).split())[:300].rstrip(".")
    except (*UNREADABLE, AttributeError):
        message = "it gave no reason"
    if reply.status_code in {400, 404, 422}:
        return InvalidRequest(f"vLLM refuses the call: {message}.")
    return Unavailable(f"vLLM answered {reply.status_code}: {message}; try again shortly.", retry_after=1.0)


RUNTIME = VllmRuntime()
