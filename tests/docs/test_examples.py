"""Every example is listed for readers, and run by a test."""

from docs.pages import ROOT

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
TESTS = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]


def test_every_script_is_listed():
    listed = (ROOT / "examples/README.md").read_text()
    assert SCRIPTS
    assert [path.name for path in SCRIPTS if f"({path.name})" not in listed] == []


def test_every_script_is_run_by_a_test():
    def run(name):
        return any(f'run_example(platform, "{name}"' in text or f'"examples/{name}.py"' in text for text in TESTS)

    assert [path.name for path in SCRIPTS if not run(path.stem)] == []
