import pytest

from modelyard.core.errors import Conflict
from modelyard.store.home import LAYOUT, Home
from modelyard.store.upgrade import is_empty, prepare_home, read_layout


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_a_new_home_is_made_and_says_its_layout(home):
    assert prepare_home(home) is None
    assert read_layout(home) == LAYOUT
    assert is_empty(home)
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_an_existing_home_is_kept_and_unfinished_uploads_go(home):
    prepare_home(home)
    home.database.write_text("rows")
    (home.temporary / "half").write_text("x")
    (home.temporary / "folder").mkdir()
    assert prepare_home(home) is None
    assert home.database.read_text() == "rows"
    assert list(home.temporary.iterdir()) == []
    assert not is_empty(home)


def test_a_program_may_be_installed_before_a_home_is_made(home):
    program = home.programs / "vllm" / "0" / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.touch()
    prepare_home(home)
    assert read_layout(home) is not None
    assert program.is_file()


def test_a_newer_home_is_refused(home):
    prepare_home(home)
    home.layout_file.write_text(f"{LAYOUT + 1}\n")
    with pytest.raises(Conflict, match="newer Modelyard"):
        prepare_home(home)
    assert read_layout(home) == LAYOUT + 1


def test_a_folder_of_something_else_is_refused_and_left_alone(home):
    home.root.mkdir()
    (home.root / "thesis.doc").write_text("years of work")
    with pytest.raises(Conflict, match="no home"):
        prepare_home(home)
    assert [item.name for item in home.root.iterdir()] == ["thesis.doc"]


def test_a_file_in_the_place_of_a_home_is_refused(home):
    home.root.write_text("x")
    with pytest.raises(Conflict):
        prepare_home(home)


def test_a_damaged_layout_file_is_named(home):
    prepare_home(home)
    home.layout_file.write_text("one")
    with pytest.raises(Conflict, match="damaged"):
        prepare_home(home)


def test_an_older_home_is_copied_then_upgraded_step_by_step(home):
    prepare_home(home, layout=1)
    home.database.write_text("rows 1")
    (home.blobs / "b").write_text("blob")
    (home.journal / "seg").write_text("calls")

    def step(upgraded):
        upgraded.database.write_text(upgraded.database.read_text() + " more")

    kept = prepare_home(home, layout=3, steps={1: step, 2: step})
    assert home.database.read_text() == "rows 1 more more"
    assert read_layout(home) == 3
    assert (kept / "modelyard.db").read_text() == "rows 1"
    assert (kept / "LAYOUT").read_text() == "1\n"
    assert (kept / "journal" / "seg").read_text() == "calls"
    assert (kept / "blobs" / "b").samefile(home.blobs / "b")


def test_an_interrupted_upgrade_goes_on_where_it_stopped(home):
    prepare_home(home, layout=1)
    done = []

    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare_home(home, layout=3, steps={1: lambda _: done.append(1), 2: fail})
    assert read_layout(home) == 2
    prepare_home(home, layout=3, steps={1: fail, 2: lambda _: done.append(2)})
    assert done == [1, 2]
    assert read_layout(home) == 3


def test_a_home_too_old_to_upgrade_is_refused_before_anything_is_done(home):
    prepare_home(home, layout=1)
    with pytest.raises(Conflict, match="no longer upgrade"):
        prepare_home(home, layout=3, steps={2: lambda _: None})
    assert read_layout(home) == 1
