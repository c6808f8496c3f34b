"""How the stop's sentences show what was measured."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.money import to_four_places


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal(0), max_value=Decimal("1e40")))
def test_measured_percentage_of_any_size_is_shown_as_formatting_would(value: Decimal) -> None:
    assert to_four_places(value) == f"{value:.4f}"
