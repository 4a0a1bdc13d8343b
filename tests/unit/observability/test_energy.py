from __future__ import annotations

import pytest

from modelyard.observability.energy import EnergyMeter, rapl_counters


def zone(root, name, label, energy, most=None):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    if most is not None:
        (folder / "max_energy_range_uj").write_text(f"{most}\n")


class Processors:
    us = 0

    def __call__(self):
        return self.us


@pytest.fixture
def busy():
    return Processors()


@pytest.fixture
def meter(tmp_path, busy):
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000, 2**32)
    zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000, 2**32)
    zone(tmp_path, "intel-rapl:0:0", "core", 900_000)  # is in its package's
    zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)  # is the whole platform once more
    return EnergyMeter(tmp_path, gpus=dict, busy=busy)


def test_packages_are_counted_and_their_parts_are_not(tmp_path, meter):
    assert rapl_counters(tmp_path) == {"intel-rapl:0": 1_000_000, "intel-rapl:1": 5_000_000}


def test_energy_is_spread_over_all_that_the_processors_did(tmp_path, meter, busy):
    zone(tmp_path, "intel-rapl:0", "package-0", 7_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    busy.us = 2_000_000
    assert meter.per_compute_us(500_000) == 5.0  # 10 J in 2 s of work, whosever it was
    busy.us += 1_000_000
    assert meter.per_compute_us(500_000) == 0.0  # nothing used since


def test_models_are_never_given_more_than_all_of_it(tmp_path, meter, busy):
    zone(tmp_path, "intel-rapl:0", "package-0", 3_000_000)
    busy.us = 1  # threads that wait for a GPU compute, and work no processor
    assert meter.per_compute_us(4_000_000) * 4_000_000 == 2_000_000


def test_a_counter_that_begins_anew_loses_nothing(tmp_path, meter, busy):
    zone(tmp_path, "intel-rapl:0", "package-0", 500_000, 2**32)
    busy.us = 1_000_000
    assert meter.per_compute_us(0) == pytest.approx((2**32 - 1_000_000 + 500_000) / 1_000_000)


def test_gpus_count_too_and_one_that_appears_later_from_then_on(tmp_path, busy):
    gpus = {"gpu:0": 1_000_000}
    meter = EnergyMeter(tmp_path, gpus=lambda: dict(gpus), busy=busy)
    gpus |= {"gpu:0": 3_000_000, "gpu:1": 50_000_000}
    busy.us = 1_000_000
    assert meter.per_compute_us(0) == 2.0


def test_a_machine_that_reports_nothing_gives_nothing(tmp_path, busy):
    meter = EnergyMeter(tmp_path / "none", gpus=dict, busy=busy)
    busy.us = 1_000_000
    assert meter.per_compute_us(1000) == 0.0
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()  # as for whoever may not read it
    assert EnergyMeter(tmp_path, gpus=dict, busy=busy).per_compute_us(1000) == 0.0
