"""Files the project ships: in a wheel they lie inside the package, in a checkout at the top."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def profile_file(profile: str) -> Path:
    """The manifest of a profile (``NORMAL``, ``defensive``, ...), whether it exists or not."""
    return _shipped("profiles") / f"{profile.lower()}.yaml"


def crd_files() -> list[Path]:
    """The custom resource definitions, in name order."""
    return sorted(_shipped("crds").glob("*.yaml"))


def _shipped(folder: str) -> Path:
    packaged = _PACKAGE / f"_{folder}"
    return packaged if packaged.is_dir() else _CHECKOUT / folder
