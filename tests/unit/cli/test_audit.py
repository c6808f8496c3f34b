"""``breakwater audit``: what it prints and how it ends, on a desk that answers and on files of a volume."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.ids import DeskId, RequestId
from breakwater.domain.stop_facts import Answered, Fact, Noted, Transition
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState
from breakwater.emergency_stop.heads import HeadSigner
from breakwater.emergency_stop.latch import COPY, FILE
from breakwater.emergency_stop.recorder import Recorder
from breakwater.simulation.stores import MemoryDisk

NOW = datetime(2025, 10, 10, 21, 0, tzinfo=UTC)


@pytest.fixture
async def disk() -> MemoryDisk:
    """A volume whose audit has four records: armed, tripped, a refused reset, a note."""
    made = MemoryDisk()
    recorder = Recorder(made, DeskId("main"), HeadSigner(made, lambda count: bytes(range(count))))
    await recorder.restore()
    request = StopRequest(StopRequestKind.RESET, RequestId("r1"), "checked", "grace")
    refused = RequestOutcome(
        RequestId("r1"), StopRequestKind.RESET, False, "RESET_COOLING_DOWN", "too early", NOW + timedelta(hours=2)
    )
    facts: list[Fact] = [
        Transition(StopState.DISABLED, StopState.ARMED, 1, NOW, "emergency_stop", "enabled: true in the spec"),
        Transition(StopState.ARMED, StopState.TRIPPED, 2, NOW + timedelta(hours=1), "ada", "news"),
        Answered(request, refused),
        Noted("spec_refused", NOW + timedelta(hours=3), "enabled: false is refused"),
    ]
    for epoch, fact in enumerate(facts, start=1):
        await recorder.finish(await recorder.latch(Latched(epoch=epoch), [fact], []))
    return made


@pytest.fixture
def volume(disk: MemoryDisk, tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    root.mkdir()
    for name in disk.names():
        (root / name).write_bytes(disk.read(name) or b"")
    return root


def serve(desk: Any, disk: MemoryDisk) -> None:
    head = json.loads(disk.read("audit.head.json") or b"null")
    desk.answers["GET", "/v1/audit/head"] = (200, {"head": head, "problem": "", "atStart": {"ok": True, "problem": ""}})
    desk.answers["GET", "/v1/audit"] = (200, disk.read("audit.jsonl"))


def test_show_of_a_running_desk_is_a_table_with_who_when_and_why(breakwater: Any, desk: Any, disk: MemoryDisk) -> None:
    serve(desk, disk)
    done = breakwater("audit", "show")
    assert done.code == 0
    rows = [" ".join(line.split()) for line in done.out.splitlines()[1:]]
    assert rows[1] == "2 2025-10-10 22:00:00 ARMED -> TRIPPED ada news"
    assert rows[2] == "3 2025-10-10 23:00:00 RESET refused grace checked [RESET_COOLING_DOWN]"
    assert all(token == f"Bearer {desk.token}" for _, _, token, _ in desk.received)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [1, 2, 3, 4]),
        (("--kind", "transition"), [1, 2]),
        (("--kind", "request", "--kind", "note"), [3, 4]),
        (("--since", "2025-10-10T22:00:00Z"), [2, 3, 4]),
        (("--since", "2025-10-10T22:00:01Z", "--kind", "transition"), []),
    ],
)
def test_show_as_json_holds_what_was_asked_for(
    breakwater: Any, volume: Path, options: tuple[str, ...], numbers: list[int]
) -> None:
    done = breakwater("audit", "show", "--file", str(volume / "audit.jsonl"), "--json", *options)
    assert done.code == 0
    printed = json.loads(done.out)
    assert [record["n"] for record in printed["records"]] == numbers
    assert printed["unreadable"] == 0


def test_show_of_lines_that_are_none_shows_the_others_and_counts_them(breakwater: Any, volume: Path) -> None:
    path = volume / "audit.jsonl"
    path.write_bytes(b"[]\n" + b'{"hash":"x","record":{"values":7}}\n' + path.read_bytes() + b'{"torn')
    done = breakwater("audit", "show", "--file", str(path))
    assert done.code == 0
    assert "ARMED -> TRIPPED" in done.out
    assert "3 lines cannot be read" in done.err


def test_show_never_lets_a_record_move_the_cursor_or_change_the_screen(
    breakwater: Any, desk: Any, disk: MemoryDisk
) -> None:
    record = {
        "n": 1,
        "kind": "note",
        "time": "x",
        "who": "eve\x1b[1A\x1b[2K",
        "what": "a\rb",
        "why": "\x9b2J",
        "values": {},
    }
    serve(desk, disk)
    desk.answers["GET", "/v1/audit"] = (200, json.dumps({"hash": "x", "record": record}).encode() + b"\n")
    done = breakwater("audit", "show")
    assert done.code == 0
    assert not {"\x1b", "\r", "\x9b"} & set(done.out)
    assert "eve" in done.out


def test_show_of_a_record_without_a_number_counts_it_as_unreadable(breakwater: Any, volume: Path) -> None:
    path = volume / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":1,', b""))
    done = breakwater("audit", "show", "--file", str(path))
    assert done.code == 0, done
    assert "1 lines cannot be read" in done.err


def test_verify_of_a_running_desk_that_is_whole_exits_0(breakwater: Any, desk: Any, disk: MemoryDisk) -> None:
    serve(desk, disk)
    done = breakwater("audit", "verify")
    assert done.code == 0, done
    assert "chain: 4 records" in done.out
    assert "is signed as the last one by key" in done.out
    assert "WHOLE" in done.out


def test_verify_of_a_copied_volume_uses_latch_and_head_beside_it(breakwater: Any, volume: Path) -> None:
    done = breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"), "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["verdict"], report["records"], report["record"]) == ("WHOLE", 4, None)
    assert [check["name"] for check in report["checks"]] == ["chain", "latch", "signature"]


def test_verify_of_the_bare_chain_says_what_it_cannot_see(breakwater: Any, volume: Path, tmp_path: Path) -> None:
    alone = tmp_path / "audit.jsonl"
    alone.write_bytes((volume / "audit.jsonl").read_bytes())
    done = breakwater("audit", "verify", "--file", str(alone))
    assert done.code == 0
    assert "Only the chain was checked" in done.out


def test_verify_of_a_changed_record_exits_1_and_names_it(breakwater: Any, volume: Path) -> None:
    path = volume / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"who":"ada"', b'"who":"eve"'))
    done = breakwater("audit", "verify", "--file", str(path))
    assert done.code == 1
    assert "BROKEN at record 2" in done.out
    done = breakwater("audit", "verify", "--file", str(path), "--json")
    assert (done.code, json.loads(done.out)["record"]) == (1, 2)


def test_verify_of_a_torn_last_line_is_no_tampering(breakwater: Any, volume: Path) -> None:
    path = volume / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    done = breakwater("audit", "verify", "--file", str(path))
    assert done.code == 1
    assert "TORN at record 4" in done.out
    assert "as a crash leaves it" in done.out


def cut(volume: Path) -> None:
    """The last record goes, and everything on the volume that knew it."""
    path = volume / "audit.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    for name in (FILE, COPY, "audit.head.json"):
        (volume / name).unlink()


@pytest.mark.parametrize("shape", ["head", "answer", "resource", "report", "list"])
def test_verify_against_a_head_kept_elsewhere_finds_a_cut_audit(
    breakwater: Any, volume: Path, tmp_path: Path, shape: str
) -> None:
    head = json.loads((volume / "audit.head.json").read_bytes())
    shapes: dict[str, Any] = {
        "head": head,
        "answer": {"head": head, "problem": ""},
        "resource": {"kind": "EmergencyStop", "status": {"state": "ARMED", "auditHeads": [head]}},
        "list": {"kind": "List", "items": [{"status": {"auditHeads": [head]}}]},
    }
    kept = tmp_path / "kept.json"
    if shape == "report":
        kept.write_text(breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"), "--json").out)
    else:
        kept.write_text(json.dumps(shapes[shape]))
    assert breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"), "--head", str(kept)).code == 0
    cut(volume)
    done = breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"), "--head", str(kept))
    assert done.code == 1
    assert "cut: the head kept elsewhere knows 4 records, here are 3" in done.out


def test_head_is_fetched_from_a_url_without_giving_the_desks_token_away(
    breakwater: Any, desk: Any, disk: MemoryDisk
) -> None:
    serve(desk, disk)
    desk.answers["GET", "/kept"] = (200, disk.read("audit.head.json"))
    assert breakwater("audit", "verify", "--head", f"{desk.url}/kept").code == 0
    assert [token for _, path, token, _ in desk.received if path == "/kept"] == [""]


def test_desk_elsewhere_is_read_through_its_url_with_its_token(
    breakwater: Any, desk: Any, disk: MemoryDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAKWATER_HOME", str(tmp_path / "nothing-here"))
    serve(desk, disk)
    token = tmp_path / "token"
    token.write_text(f"{desk.token}\n")
    done = breakwater("audit", "verify", "--url", desk.url, "--token-file", str(token))
    assert done.code == 0, done
    assert {token for _, _, token, _ in desk.received} == {f"Bearer {desk.token}"}


def test_unsigned_head_is_not_whole_and_says_why(breakwater: Any, desk: Any, disk: MemoryDisk) -> None:
    serve(desk, disk)
    told = desk.answers["GET", "/v1/audit/head"][1]
    told["head"] |= {"signature": "", "keyID": "", "publicKey": ""}
    told["problem"] = "the audit's signing key cannot be used: audit.key is damaged"
    done = breakwater("audit", "verify")
    assert done.code == 1
    assert "UNSIGNED" in done.out
    assert "audit.key is damaged" in done.out


def test_desk_that_answers_something_else_exits_4(breakwater: Any, desk: Any) -> None:
    assert breakwater("audit", "verify").code == 4
    for odd in (b"nonsense", b"[]", b'{"head":{"number":"x","hash":7}}', b"[" * 90_000):
        desk.answers["GET", "/v1/audit/head"] = (200, odd)
        desk.answers["GET", "/v1/audit"] = (200, b"")
        assert breakwater("audit", "verify").code == 4, odd


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("show", "--file", "missing.jsonl"), "does not exist"),
        (("show", "--since", "yesterday"), "is not a time"),
        (("show", "--kind", "rumour"), "rumour"),
        (("verify", "--file", "a", "--url", "http://x"), "exclude each other"),
        (("verify", "--url", "http://x"), "belong together"),
        (("verify", "--head", "missing.json"), "does not exist"),
    ],
)
def test_wrong_usage_exits_2(breakwater: Any, options: tuple[str, ...], said: str) -> None:
    done = breakwater("audit", *options)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[[[]]]", b'{"number":1,"hash":"x"}', b"[" * 90_000])
def test_head_file_that_holds_none_exits_2(breakwater: Any, volume: Path, tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "kept.json"
    kept.write_bytes(content)
    done = breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"), "--head", str(kept))
    assert (done.code, "--head" in done.err) == (2, True), done


def test_address_where_nothing_answers_exits_4(breakwater: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    url = f"http://127.0.0.1:{_free_port()}"
    assert breakwater("audit", "show", "--url", url, "--token-file", str(token)).code == 4


def test_latch_that_is_damaged_is_named(breakwater: Any, volume: Path) -> None:
    (volume / FILE).write_bytes(b"x")
    done = breakwater("audit", "verify", "--file", str(volume / "audit.jsonl"))
    assert done.code == 2
    assert FILE in done.err
