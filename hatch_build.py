"""Builds a wheel with the path of a call compiled to C by mypyc; the modules and the way are in docs/howto/compile.md.

Runs only where it is asked for (``HATCH_BUILD_HOOKS_ENABLE=1``): without it the same modules are interpreted, and nothing is compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SETUP = """
import os
import sys
from mypyc.build import mypycify
from setuptools import setup

extensions = mypycify(sys.argv[1:], opt_level="2", debug_level="0")
for extension in extensions:
    extension.extra_compile_args.append("-Wno-error")  # what one compiler warns of is no reason not to build with it
sys.argv[1:] = ["build_ext", "--build-lib", "built", "--parallel", str(os.cpu_count() or 1)]
setup(name="modelyard-compiled", package_dir={"": "src"}, packages=[], ext_modules=extensions)
"""


class CompileHook(BuildHookInterface[Any]):
    """Compiles the modules that pyproject.toml lists under ``[tool.hatch.build.targets.wheel.hooks.custom]``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        # In a copy: mypy's settings, caches and C sources of this build are nobody else's.
        self._folder = Path(tempfile.mkdtemp(prefix="modelyard-compile-"))
        shutil.copytree(Path(self.root) / "src", self._folder / "src")
        (self._folder / "setup.py").write_text(SETUP)
        modules = [f"src/modelyard/{name}.py" for name in self.config["modules"]]
        environment = os.environ | {"MYPYPATH": "src"}
        subprocess.run([sys.executable, "setup.py", *modules], cwd=self._folder, env=environment, check=True)
        built = self._folder / "built"
        found = {str(file): str(file.relative_to(built)) for file in built.rglob("*.so")}
        if len(found) != len(modules) + 1:  # each module, and what they share
            raise RuntimeError(f"{len(found)} extension modules came of {len(modules)} sources")
        build_data["force_include"].update(found)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder)
