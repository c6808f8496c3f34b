"""What a JSON decoder raises for bytes that somebody else wrote."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Not JSON or another shape; text that is no UTF-8, which msgspec lets through as it is; nested beyond all bounds."""
