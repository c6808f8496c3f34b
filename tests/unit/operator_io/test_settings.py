"""The operator's environment: every mistake at once, each with its remedy, never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from breakwater.runtime.settings import SettingsError
from breakwater_operator.settings import load_settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    (tmp_path / "platform.yaml").write_text("image: breakwater:1\n")
    return {
        "REDIS_URL": "redis://:secret-word@store:6379/0",
        "BREAKWATER_OPERATOR_KEY_FILE": str(tmp_path / "key"),
        "BREAKWATER_PLATFORM_FILE": str(tmp_path / "platform.yaml"),
    }


def test_complete_environment_is_read_with_defaults(environment: dict[str, str]) -> None:
    settings = load_settings(environment)
    assert settings.operator_key == "0123456789abcdef"
    assert settings.platform.image == "breakwater:1"
    assert (settings.namespaces, settings.http_host, settings.http_port) == ((), "0.0.0.0", 8080)


def test_namespaces_are_a_list(environment: dict[str, str]) -> None:
    assert load_settings({**environment, "BREAKWATER_NAMESPACES": "a, b,"}).namespaces == ("a", "b")


def test_empty_environment_names_everything_that_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert len(caught.value.problems) == 3
    for name in ("REDIS_URL", "BREAKWATER_OPERATOR_KEY_FILE", "BREAKWATER_PLATFORM_FILE"):
        assert any(name in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("REDIS_URL", "http://secret-word@store", "redis://"),
        ("BREAKWATER_HTTP_PORT", "eighty", "port number"),
        ("BREAKWATER_LOG_FORMAT", "xml", "auto or json or pretty"),
        ("BREAKWATER_LOG_LEVEL", "loud", "debug"),
    ],
)
def test_wrong_value_is_named_with_its_remedy(environment: dict[str, str], name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**environment, name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(name)
    assert says in problem
    assert "secret-word" not in problem


def test_short_key_and_bad_platform_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    (tmp_path / "platform.yaml").write_text("imag: x\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(environment)
    assert len(caught.value.problems) == 2
