"""User-stream keys: made, kept alive for 60 minutes of wall time, ended."""

from __future__ import annotations

from breakwater.paper_venue.auth import sign
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.events import listen_key_expired
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Now
from breakwater.paper_venue.orders import Emit
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.wire import Json


class ListenKeys:
    """One key per account. It is derived from the secret and a counter, so that runs can be repeated."""

    def __init__(self, ledger: Ledger, emit: Emit) -> None:
        self._ledger = ledger
        self._secrets = {account.name: account.api_secret for account in ledger.config.accounts}
        self._emit = emit

    def account_of(self, listen_key: str) -> str | None:
        for account in self._ledger.state.accounts.values():
            if listen_key and account.listen_key == listen_key:
                return account.name
        return None

    def create(self, account: Account, params: Params, now: Now) -> Json:
        """POST: the account's key; an existing one is returned again and extended."""
        if not account.listen_key:
            counters = self._ledger.state.counters
            counters.listen_key += 1
            secret = self._secrets[account.name]
            account.listen_key = sign(secret, f"listenKey:{account.name}:{counters.listen_key}".encode())
        self._extend(account, now)
        return {"listenKey": account.listen_key}

    def keep_alive(self, account: Account, params: Params, now: Now) -> Json:
        """PUT: 60 more minutes. Raises -1125 when there is no key."""
        self._require(account)
        self._extend(account, now)
        return {"listenKey": account.listen_key}

    def end(self, account: Account, params: Params, now: Now) -> Json:
        self._require(account)
        account.listen_key = ""
        self._ledger.touch_account(account)
        return {}

    def _require(self, account: Account) -> None:
        if not account.listen_key:
            raise VenueError(-1125, "This listenKey does not exist.")

    def _extend(self, account: Account, now: Now) -> None:
        account.listen_key_expires_wall = now.wall_ms + self._ledger.config.listen_key_life_ms
        self._ledger.touch_account(account)

    def end_all(self, now: Now, *, notice: bool) -> None:
        """End every key before its time, with or without telling its connections; they stay open and silent."""
        for account in self._ledger.state.accounts.values():
            if account.listen_key:
                self._end_one(account, now, notice=notice)

    def _end_one(self, account: Account, now: Now, *, notice: bool) -> None:
        if notice:
            self._emit(account.name, listen_key_expired(account.listen_key, now.wall_ms))
        account.listen_key = ""
        self._ledger.touch_account(account)

    def expire(self, now: Now) -> None:
        """End overdue keys. Their connections stay open and silent, as on the exchange."""
        for account in self._ledger.state.accounts.values():
            if account.listen_key and account.listen_key_expires_wall <= now.wall_ms:
                self._end_one(account, now, notice=True)
