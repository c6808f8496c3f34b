"""``python -m breakwater_operator``: the same as the command ``breakwater-operator``."""

from __future__ import annotations

from breakwater_operator.main import main

main()
