"""What a front allows a client to send, hold and wait for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontConfig:
    """Limits of one front. Sizes are bytes, times are seconds; a time of 0 switches that limit off."""

    max_head_bytes: int = 32 * 1024
    """Request line and header fields together; more is answered with 431."""
    max_headers: int = 100
    """Header fields of one request, repeated ones counted each."""
    max_target_bytes: int = 8 * 1024
    """Path and query; more is answered with 414."""
    max_body_bytes: int = 64 * 1024 * 1024
    """The body after its transfer coding is removed; more is answered with 413."""
    max_pipelined_bytes: int = 64 * 1024
    """What is kept of requests that follow one that is not answered yet; reading pauses above it."""
    max_buffered_bytes: int = 1024 * 1024 * 1024
    """Unfinished bodies of all connections together; a body that would pass it is answered with 503."""
    max_connections: int = 4096
    """Connections at once; one more is answered with 503."""
    head_timeout_s: float = 10.0
    """From the first byte of a request (or from connecting) to the end of its head."""
    body_timeout_s: float = 20.0
    """For the body, on top of the time that ``min_body_rate`` grants to what has come."""
    min_body_rate: int = 16 * 1024
    """Bytes per second below which a body counts as stalled once ``body_timeout_s`` has passed."""
    idle_timeout_s: float = 75.0
    """Between two requests of a kept connection."""
    write_timeout_s: float = 20.0
    """Without any progress of a client that has an answer to take."""
    answer_timeout_s: float = 600.0
    """From a whole request to the beginning of its answer; then 504."""
    linger_timeout_s: float = 2.0
    """After our last byte, for the client to close its side; what it sends meanwhile is thrown away."""
    half_close_grace_s: float = 0.25
    """A client that ends its side while its answer is computed counts as gone after this time."""
    drain_grace_s: float = 0.5
    """While draining, how long kept connections may still bring the request that tells them to close."""

    def sweep_interval(self) -> float:
        """How often timeouts are looked at: a quarter of the shortest one, between 20 ms and a second."""
        times = (self.head_timeout_s, self.body_timeout_s, self.idle_timeout_s, self.write_timeout_s, self.answer_timeout_s)
        shortest = min((time for time in (*times, self.linger_timeout_s) if time), default=4.0)
        return min(1.0, max(0.02, shortest / 4))


class Refused(Exception):
    """A request that the front itself answers: with ``status`` and a sentence for the client. The connection closes after it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
