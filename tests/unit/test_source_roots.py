"""operator/ and components/ are source roots: a module directly inside operator/ would shadow the standard library."""

from __future__ import annotations

import operator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_source_roots_hold_no_python_file_of_their_own() -> None:
    loose = [str(path.relative_to(ROOT)) for root in ("operator", "components") for path in (ROOT / root).glob("*.py")]
    assert loose == []


def test_standard_library_operator_is_intact() -> None:
    assert operator.add(1, 2) == 3
    assert not Path(operator.__file__).is_relative_to(ROOT / "operator")


def test_locks_name_no_address() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text, f"{lock.name} names an address"
