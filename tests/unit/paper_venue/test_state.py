from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.ledger import apply_delta
from breakwater.paper_venue.model import VenueState
from breakwater.paper_venue.state_file import StateFileError, VenueStateFile

ContinueAs = Callable[[PaperVenue, Any], Any]


def _trade_a_little(client: Any) -> None:
    client.ok("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    client.order("BUY", "0.02", newClientOrderId="entry")
    client.stop("SELL", "0.02", "59000", reduceOnly=True, clientAlgoId="stop")
    client.order("SELL", "0.01", price="62000", newClientOrderId="target")
    client.tick("62001")


def _plain(state: VenueState | None) -> object:
    return msgspec.to_builtins(state, str_keys=True)


def test_state_round_trip_keeps_everything_and_the_venue_goes_on(client: Any, continue_as: ContinueAs) -> None:
    _trade_a_little(client)
    decoded = msgspec.json.decode(msgspec.json.encode(client.venue.to_state()), type=VenueState)
    restored = PaperVenue.from_state(client.venue.config, decoded)
    assert _plain(restored.to_state()) == _plain(client.venue.to_state())
    again = continue_as(restored, client)
    for path in ("/fapi/v3/account", "/fapi/v3/positionRisk", "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"):
        assert again.ok("GET", path) == client.ok("GET", path)
    again.tick("58000")
    assert again.position() == 0
    assert again.order("BUY", "0.01")["orderId"] > client.order("BUY", "0.01")["orderId"]


def test_journal_alone_rebuilds_the_state(client: Any) -> None:
    state = VenueState()
    for price in ("60000", "60100", "58000", "60000"):
        client.tick(price)
        client.order("BUY", "0.01")
        client.stop("SELL", "0.01", str(Decimal(price) - 500), reduceOnly=True)
        line = msgspec.json.encode(client.venue.take_delta())
        delta = msgspec.json.decode(line, type=type(client.venue.take_delta()))
        apply_delta(state, delta)
        apply_delta(state, msgspec.json.decode(line, type=type(delta)))
    assert _plain(state) == _plain(client.venue.to_state())


def test_killed_venue_comes_back_from_snapshot_and_journal(client: Any, tmp_path: Path) -> None:
    file = VenueStateFile(tmp_path / "venue.json")
    assert file.load() is None
    file.open(client.venue)
    client.venue.on_change = lambda: file.save(client.venue)
    _trade_a_little(client)
    file.save_prices(client.venue, 0.0)
    expected = _plain(client.venue.to_state())
    # No close(): the process is gone. A line that was being written is cut in the middle.
    with (tmp_path / "venue.json.journal").open("ab") as journal:
        journal.write(b'{"market_ms": 17')
    state = VenueStateFile(tmp_path / "venue.json").load()
    assert state is not None
    assert _plain(state) == expected


def test_clean_stop_leaves_one_whole_snapshot(client: Any, tmp_path: Path) -> None:
    file = VenueStateFile(tmp_path / "venue.json")
    file.open(client.venue)
    _trade_a_little(client)
    file.close(client.venue)
    assert (tmp_path / "venue.json.journal").read_bytes() == b""
    state = VenueStateFile(tmp_path / "venue.json").load()
    assert _plain(state) == _plain(client.venue.to_state())


def test_damaged_state_is_refused_naming_the_file_and_left_alone(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "venue.json"
    path.write_text("{ damaged")
    with pytest.raises(StateFileError, match=r"venue\.json"):
        VenueStateFile(path).load()
    assert path.read_text() == "{ damaged"
    path.unlink()
    (tmp_path / "venue.json.journal").write_text("{ damaged\n{}\n")
    with pytest.raises(StateFileError, match="line 1"):
        VenueStateFile(path).load()


def test_prices_are_saved_at_most_once_a_second(client: Any, tmp_path: Path) -> None:
    file = VenueStateFile(tmp_path / "venue.json")
    file.open(client.venue)
    for i in range(100):
        client.tick("60000")
        file.save_prices(client.venue, i / 50)
    assert len((tmp_path / "venue.json.journal").read_bytes().splitlines()) == 2


def test_configuration_does_not_show_secrets() -> None:
    from breakwater.paper_venue.config import AccountConfig

    assert "secret" not in repr(AccountConfig("desk", "key", "secret"))
