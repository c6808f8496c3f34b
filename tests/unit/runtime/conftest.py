from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from breakwater.runtime.file_disk import FileDisk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FileDisk]:
    volume = FileDisk(tmp_path / "volume", owner="the test")
    yield volume
    volume.close()
