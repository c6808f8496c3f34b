"""Who is let in by a bearer token."""

from __future__ import annotations

import pytest

from breakwater.runtime.bearer import bearer_matches


def test_header_with_the_token_is_let_in() -> None:
    assert bearer_matches("Bearer secret", "secret")


@pytest.mark.parametrize(
    "header", [None, "", "secret", "Bearer", "Bearer ", "Bearer secret2", "Basic secret", "Bearer sécret"]
)
def test_any_other_header_is_not(header: str | None) -> None:
    assert not bearer_matches(header, "secret")


@pytest.mark.parametrize("header", [None, "", "Bearer ", "Bearer x"])
def test_empty_token_lets_nobody_in(header: str | None) -> None:
    assert not bearer_matches(header, "")
