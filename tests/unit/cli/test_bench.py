import asyncio
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.bench import _row, quantile
from modelyard.cli.bench_load import LoadPlan, LoadResult, _Load
from modelyard.cli.bench_picture import Point, picture
from modelyard.sdk.trust import address

TIMES = st.floats(0.001, 1e5)


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 1e6), TIMES, TIMES), max_size=8), st.text(max_size=20))
def test_the_picture_is_svg_whatever_was_measured(measured, title):
    text = picture("".join(c for c in title if c.isprintable()), [Point(*each) for each in measured])
    root = ET.fromstring(text)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * len(measured)
    assert all(0 <= float(circle.get(name)) <= 720 for circle in circles for name in ("cx", "cy"))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_a_measured_value_that_enough_do_not_exceed(values, share):
    ordered = np.sort(np.array(values))
    found = quantile(ordered, share)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))


def test_a_row_tells_rates_and_quantiles():
    row = _row(4, LoadResult(seconds=2.0, durations_us=[1000] * 98 + [5000, 9000], refused=3))
    assert (row["per_second"], row["p50_ms"], row["p99_ms"], row["max_ms"], row["refused"]) == (50.0, 1.0, 5.0, 9.0, 3)
    assert _row(1, LoadResult())["p50_ms"] == pytest.approx(0.0)


class Ending(asyncio.Protocol):
    """A server that ends connections: said with the answer, or without a word."""

    def __init__(self, *, said):
        self.said = said

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.said:
            self.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        self.transport.close()


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_calls_go_on_over_new_connections_where_the_server_says_that_one_ends(said, over, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        if over == "tcp":
            server = await loop.create_server(lambda: Ending(said=said), "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
        else:
            server = await loop.create_unix_server(lambda: Ending(said=said), str(tmp_path / "s"))
            host, port = address(f"unix:{tmp_path / 's'}").removeprefix("http://"), 0
        async with server:
            plan = LoadPlan(host=host, port=port, tls=False, request=b"x", connections=2, seconds=0.2, warm_seconds=0.0)
            return await _Load(plan).run()

    found = asyncio.run(main())
    if said:
        assert (found.failed, found.refused) == (0, 0), found.first_failure
        assert len(found.durations_us) > 2
    else:
        assert found.failed == 2
        assert "the server closed it" in found.first_failure
