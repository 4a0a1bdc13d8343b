"""Versions of installed libraries, for the record of an import."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions(*packages: str) -> dict[str, str]:
    """Versions of what is installed, for the record."""
    found: dict[str, str] = {}
    for package in dict.fromkeys({"sklearn": "scikit-learn", "xgboost": "xgboost-cpu"}.get(name, name) for name in packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
