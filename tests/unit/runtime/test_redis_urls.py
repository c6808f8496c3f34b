"""Addresses of a server: what each form means, and that no mistake shows a password."""

from __future__ import annotations

import pytest

from breakwater.runtime.redis_urls import Credentials, Endpoint, Kind, Tls, parse_server_url


def test_plain_address_has_port_and_database_by_default() -> None:
    url = parse_server_url("redis://box")
    assert url.kind is Kind.FIXED
    assert url.seeds == (Endpoint("box", 6379),)


def test_user_password_and_database_are_decoded() -> None:
    (endpoint,) = parse_server_url("redis://des%40k:p%2Fw%3A1@[::1]:7000/3").seeds
    assert endpoint == Endpoint("::1", 7000, db=3, credentials=Credentials("des@k", "p/w:1"))


def test_tls_address_names_files_and_server() -> None:
    (endpoint,) = parse_server_url(
        "rediss://box?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&server_name=redis"
    ).seeds
    assert endpoint.tls == Tls("/ca", "/c", "/k", "redis")


def test_socket_has_path_and_database() -> None:
    assert parse_server_url("unix:///run/r.sock?db=2").seeds == (Endpoint(path="/run/r.sock", db=2),)


def test_sentinels_have_a_master_and_their_own_credentials() -> None:
    url = parse_server_url("redis+sentinel://u:p@a,b:26380/mymaster/1?sentinel_password=s")
    assert (url.kind, url.master, url.sentinel_credentials.password) == (Kind.SENTINEL, "mymaster", "s")
    assert [(seed.host, seed.port, seed.db) for seed in url.seeds] == [("a", 26379, 1), ("b", 26380, 1)]


def test_cluster_has_several_nodes_with_tls() -> None:
    url = parse_server_url("rediss+cluster://:p@a:7000,b:7001?ssl_ca_certs=/ca")
    assert url.kind is Kind.CLUSTER
    assert [(seed.port, seed.tls) for seed in url.seeds] == [(7000, Tls("/ca")), (7001, Tls("/ca"))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://box", "redis\\+sentinel"),
        ("redis+magic://box", "redis\\+sentinel"),
        ("redis://", "host is missing"),
        ("redis://a,b", "several hosts"),
        ("redis+sentinel://a:26379", "name the master"),
        ("redis+cluster://a:7000/1", "database 0 only"),
        ("redis://box/one", "database is a number"),
        ("redis://box?ssl_ca_certs=/ca", "rediss instead"),
        ("rediss://box?ssl_keyfile=/k", "ssl_certfile"),
        ("redis://box?retry=9", "no option retry"),
        ("redis://box:99999", "1 to 65535"),
        ("unix://", "name the socket"),
    ],
)
def test_address_that_means_nothing_is_refused_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_server_url(text)


@pytest.mark.parametrize(
    "text", ["redis://u:geheim@box:x", "redis://geheim@box", "redis://u:ge/heim@box", "redis://u:geheim@[::1", "redis://u:geheim@"]
)  # fmt: skip
def test_mistake_never_shows_the_password(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_server_url(text)
    assert "heim" not in str(caught.value)


def test_what_is_printed_of_an_endpoint_has_no_password() -> None:
    (endpoint,) = parse_server_url("redis://u:geheim@box").seeds
    assert "geheim" not in repr(endpoint) + str(endpoint)
