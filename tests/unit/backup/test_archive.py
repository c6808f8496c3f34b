"""The file of a backup: the same content gives the same bytes, and no damage passes for data."""

from __future__ import annotations

import hashlib
import io
import tarfile
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.backup.archive import BackupError, decode_backup, encode_backup

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SMALL = {"components/execution/execution.journal": b'{"n":1}\n', "components/policy/policy.json": b"{}"}

names = st.lists(
    st.text("abcxyz09.-_", min_size=1, max_size=12).filter(lambda t: t.strip(".") != ""), min_size=1, max_size=4
)
contents = st.dictionaries(names.map("/".join), st.binary(max_size=1200), max_size=6)


def packed(files: dict[str, bytes], **changes: Any) -> bytes:
    facts: dict[str, Any] = {"desk": "main", "mode": "Paper", "time": NOW, "version": "1", "running": True}
    return encode_backup(files, **facts | changes)


@given(contents)
def test_any_files_come_back_as_they_were_and_their_order_changes_nothing(files: dict[str, bytes]) -> None:
    data = packed(files)
    assert decode_backup(data).files == files
    assert packed(dict(reversed(files.items()))) == data


def test_backup_is_a_tar_whose_first_member_is_the_manifest() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(SMALL))) as tar:
        assert tar.getnames() == ["manifest.json", *(f"files/{name}" for name in sorted(SMALL)), "seal"]
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        found = msgspec.json.decode(manifest.read())
    assert found["desk"] == "main"
    assert found["members"][0]["sha256"] == hashlib.sha256(SMALL[sorted(SMALL)[0]]).hexdigest()


def test_backup_cut_at_any_byte_is_refused() -> None:
    data = packed(SMALL)
    for end in range(len(data)):
        with pytest.raises(BackupError):
            decode_backup(data[:end])


def test_any_flipped_bit_is_refused() -> None:
    data = bytearray(packed(SMALL))
    for at in range(len(data)):
        bit = 1 << at % 8
        data[at] ^= bit
        with pytest.raises(BackupError):
            decode_backup(bytes(data))
        data[at] ^= bit


def test_damaged_member_is_named() -> None:
    data = packed(SMALL).replace(b'{"n":1}', b'{"n":2}')
    with pytest.raises(BackupError, match=r"components/execution/execution\.journal is not what the manifest says"):
        decode_backup(data)


def test_missing_member_is_named() -> None:
    data = packed(SMALL)
    with pytest.raises(BackupError, match=r"components/policy/policy\.json is missing: the file is cut off"):
        decode_backup(data[: data.index(b"files/components/policy/policy.json")])


def test_newer_format_is_refused_with_what_to_do() -> None:
    data = packed(SMALL).replace(b'"format": 1', b'"format": 9')
    with pytest.raises(BackupError, match="format 9; this version of Breakwater reads up to 1") as refused:
        decode_backup(data)
    assert "the version that made it" in refused.value.remedy


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b"])
def test_manifest_that_points_outside_is_refused(path: str) -> None:
    with pytest.raises(BackupError, match="no place inside a state directory"):
        decode_backup(packed({path: b"x"}))


@pytest.mark.parametrize("data", [b"", b"no tar at all", bytes(2048)])
def test_something_else_is_said_to_be_no_backup(data: bytes) -> None:
    with pytest.raises(BackupError, match="no backup of Breakwater"):
        decode_backup(data)
