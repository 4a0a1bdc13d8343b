"""The modules that a compiled wheel has as extensions (docs/howto/compile.md) keep to what makes that possible."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "modelyard"
LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
SEAMS = {"Protocol", "Seam", "NamedTuple", "Struct", "TypedDict", "Enum", "IntEnum", "StrEnum"}


def bases_of(node):
    return {base.attr if isinstance(base, ast.Attribute) else base.id for base in node.bases if isinstance(base, ast.Attribute | ast.Name)}


def is_open(node):
    """Whether interpreted classes may extend it: ``@mypyc_attr(allow_interpreted_subclasses=True)``."""
    calls = [each for each in node.decorator_list if isinstance(each, ast.Call)]
    return any(given.arg == "allow_interpreted_subclasses" for call in calls for given in call.keywords)


def classes(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


def test_every_listed_module_is_there_once():
    assert [name for name in LISTED if not (SOURCE / f"{name}.py").is_file()] == []
    assert len(set(LISTED)) == len(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_classes_of_a_compiled_module_are_extended_by_compiled_modules_only(name):
    module = f"modelyard.{name.replace('/', '.')}"
    closed = {node.name for node in classes(SOURCE / f"{name}.py") if SEAMS.isdisjoint(bases_of(node)) and not is_open(node)}
    interpreted = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).with_suffix("").as_posix() not in LISTED]
    for path in interpreted:
        text = path.read_text()
        if module not in text:
            continue
        imported = {
            alias.asname or alias.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module == module
            for alias in node.names
            if alias.name in closed
        }
        extended = {base for node in classes(path) for base in bases_of(node)} & imported
        assert not extended, f"{path.relative_to(SOURCE)} extends {extended}, which a compiled build forbids"


@pytest.mark.parametrize("name", LISTED)
def test_no_class_of_a_compiled_module_extends_one_with_slots_of_an_interpreted_module(name):
    path = SOURCE / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("modelyard."):
            continue
        place = node.module.removeprefix("modelyard.").replace(".", "/")
        origin = SOURCE / f"{place}.py"
        if place in LISTED or not origin.is_file():
            continue
        slotted = {found.name for found in classes(origin) if any(_is_slots(line) for line in found.body)}
        extended = {base for found in classes(path) for base in bases_of(found)} & {alias.name for alias in node.names} & slotted
        assert not extended, f"{name} extends {extended} of {place}, whose layout a compiled class cannot have"


def _is_slots(line):
    return isinstance(line, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__slots__" for target in line.targets)
