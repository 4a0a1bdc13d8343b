"""From a table of months to a served forecast on the real platform: by the example, the SDK and plain HTTP."""

import csv
import io
import json
import urllib.request

import numpy as np
import pytest

from example_scripts import run_example
from modelyard.core.errors import JobFailed
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform
from series import CLIMATE, FORECAST

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("series") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.admin_key) as made:
        yield made


def attachment(client, reference, name):
    out = io.BytesIO()
    client.models.attachment(reference, name, out)
    return out.getvalue().decode()


def test_a_series_becomes_a_served_forecast_that_answers_raw_windows(client, platform, tmp_path):
    printed = run_example(platform, "forecast_series", CLIMATE, "linear", "6", folder=tmp_path)  # the others are trained in the unit tests
    assert "off by" in printed
    assert "seasonal naive: " in printed
    assert {path.name for path in tmp_path.iterdir()} == {"climate-forecasts.png", "climate-forecast_errors.png"}
    version = client.models.version("climate@1")
    assert version.profile.row_independent
    assert [(one.name, one.wire_shape) for one in version.signature.inputs] == [("value", [-1, 24])]
    rows = list(csv.DictReader(io.StringIO(attachment(client, "climate@1", "held_out.csv"))))
    known = {(row["series"], row["month"]): row["value"] for row in csv.DictReader(CLIMATE.read_text().splitlines())}
    month = next(row for row in rows if row["series"] == "co2")
    months = sorted(time for series, time in known if series == "co2" and time <= month["last_seen"])[-24:]
    window = [float(known["co2", time]) for time in months]
    wanted = [float(row["value predicted"]) for row in rows if (row["series"], row["last_seen"]) == ("co2", month["last_seen"])]
    np.testing.assert_allclose(client.predict("climate", {"value": np.array([window], np.float32)})["prediction"], [wanted], rtol=1e-5)
    body = json.dumps({"inputs": [{"name": "value", "datatype": "FP32", "shape": [2, 24], "data": [window, window]}]}).encode()
    headers = {"Authorization": f"Bearer {platform.admin_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{platform.inference}/v2/models/climate/infer", body, headers)
    with urllib.request.urlopen(request) as reply:
        answer = json.load(reply)["outputs"][0]
    assert answer["shape"] == [2, 6]
    np.testing.assert_allclose(answer["data"], wanted * 2, rtol=1e-5)


def test_a_series_that_cannot_be_learned_is_one_sentence(client):
    with pytest.raises(JobFailed, match="two rows at the time '1958-03'"):
        client.train(CLIMATE, name="torn-time", recipe=FORECAST | {"groups": []})
