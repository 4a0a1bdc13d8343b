from types import SimpleNamespace

from modelyard.core.clock import ManualClock
from modelyard.server.overview import Overview
from modelyard.store.database import Store
from modelyard.store.home import Home


def test_what_was_set_aside_of_the_usage_journal_is_on_the_metrics_page(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    store = Store.open(f"sqlite:///{home.database}", ManualClock())
    store.migrate()
    overview = Overview(store, home, None, SimpleNamespace(export=list), ManualClock())
    assert b"\nmodelyard_usage_quarantined 0.0\n" in overview.metrics()
    (home.journal / "quarantine").mkdir(parents=True)
    for name in ("0-1.record", "1.journal"):
        (home.journal / "quarantine" / name).write_bytes(b"x")
    assert b"\nmodelyard_usage_quarantined 2.0\n" in overview.metrics()
    store.close()
