import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.ledger.sums import sum_minutes
from modelyard.store.segments import DTYPE
from modelyard.store.usage_sums import SUMS

RECORD = st.fixed_dictionaries(
    {
        "time_ns": st.integers(0, 10).map(lambda half: half * 30_000_000_000),
        "workspace_id": st.integers(1, 2),
        "key_id": st.integers(0, 2),
        "deployment_id": st.integers(0, 1),
        "version_id": st.integers(0, 1),
        "status": st.sampled_from([200, 201, 404, 499, 500]),
        "rows": st.integers(0, 2**32 - 1),
        "bytes_in": st.integers(0, 2**40),
        "flags": st.integers(0, 1),
    }
)


@given(st.lists(RECORD, max_size=30))
def test_sums_equal_adding_up_one_by_one(records):
    array = np.zeros(len(records), DTYPE)
    wanted = {}
    for row, record in zip(array, records, strict=True):
        for name, value in record.items():
            row[name] = value
        place = (
            record["workspace_id"],
            record["time_ns"] // 60_000_000_000,
            record["key_id"],
            record["deployment_id"],
            record["version_id"],
        )
        total = wanted.setdefault((*place, record["status"] // 100), [0, 0, 0, 0, 0])
        for index, amount in enumerate((1, record["flags"], record["rows"], record["bytes_in"], record["flags"] * record["rows"])):
            total[index] += amount
    found = {
        (s.workspace_id, s.minute, s.key_id, s.deployment_id, s.version_id, s.status): [
            s.calls,
            s.cached_calls,
            s.rows,
            s.bytes_in,
            s.cached_rows,
        ]
        for s in sum_minutes(array)
    }
    assert found == wanted


def test_one_absurd_record_does_not_overflow_the_rest():
    array = np.zeros(1000, DTYPE)
    array["bytes_out"] = 2**64 - 1
    (total,) = sum_minutes(array)
    assert 0 < total.bytes_out < 2**63


def test_every_sum_of_the_ledger_is_filled():
    array = np.ones(1, DTYPE)
    (total,) = sum_minutes(array)
    assert all(getattr(total, name) == 1 for name in SUMS if name != "energy_uj")  # which no record knows
