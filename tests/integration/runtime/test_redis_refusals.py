"""A server that is there and does not want us: one sentence that says what to mend, and never a password."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import LOST, RedisClient

from .conftest import DESK, Recorder
from .server_processes import ask, server

ACL_PAGE = Path(__file__).parents[3] / "docs/reference/redis.md"


async def refusal(url: str, *command: str) -> str:
    client = RedisClient(url, socket_timeout=2)
    try:
        with pytest.raises(LOST) as caught:
            await client.run(*(command or ("PING",)))
        return str(caught.value)
    finally:
        await client.close()


async def test_wrong_password_wrong_database_and_no_password_each_say_what_to_mend(tmp_path: Path) -> None:
    async with server(tmp_path, "--requirepass", "right") as running:
        address = f"127.0.0.1:{running.port}"
        wrong = await refusal(f"redis://:geheim@{address}")
        assert "refuses user 'default' or its password" in wrong
        assert "geheim" not in wrong
        assert "wants a password" in await refusal(f"redis://{address}")
        assert "no database 99" in await refusal(f"redis://:right@{address}/99")


async def test_bus_on_a_server_with_another_password_starts_not_and_says_why(tmp_path: Path) -> None:
    async with server(tmp_path, "--requirepass", "right") as running:
        bus = RedisBus(f"redis://:geheim@127.0.0.1:{running.port}", DESK, "w", WallInfraClock(), start_timeout=0.5)
        with pytest.raises(BusUnavailable, match="refuses user 'default' or its password") as caught:
            await bus.start()
        assert "geheim" not in str(caught.value)


async def test_something_that_is_no_redis_is_named_as_such() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(http, "127.0.0.1", 0)
    port = stranger.sockets[0].getsockname()[1]
    assert "does not answer as a Redis does" in await refusal(f"redis://127.0.0.1:{port}")
    stranger.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, a server's cert.pem and key.pem for 127.0.0.1 and ``redis.desk``, and other.pem, a CA that signed nothing."""
    directory = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def made(name: str, signer: Any = None, issuer: Any = None) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("redis.desk"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((signer or key).public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=signer is None,
                    crl_sign=signer is None,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(signer or key, hashes.SHA256())
        )
        return key, certificate

    ca_key, ca = made("CA")
    key, certificate = made("server", ca_key, ca.subject)
    _, other = made("other CA")
    for name, content in (("ca", ca), ("cert", certificate), ("other", other)):
        (directory / f"{name}.pem").write_bytes(content.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory


@pytest.fixture
async def tls_port(certificates: Path, tmp_path: Path) -> AsyncIterator[int]:
    """TLS before a real server, which need not have been built with it. Wants a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    running_copies: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with server(tmp_path) as plain:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", plain.port)
            for pair in ((reader, back_writer), (back_reader, writer)):
                task = asyncio.ensure_future(copy(*pair))
                running_copies.add(task)
                task.add_done_callback(running_copies.discard)

        front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        yield front.sockets[0].getsockname()[1]
        front.close()
        for task in running_copies:
            task.cancel()


async def test_bus_runs_over_tls_with_a_client_certificate(
    tls_port: int, certificates: Path, recorder: Recorder, publish: Any, eventually: Any
) -> None:
    url = (
        f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificates}/ca.pem&ssl_certfile={certificates}/cert.pem"
        f"&ssl_keyfile={certificates}/key.pem&server_name=redis.desk"
    )
    bus = RedisBus(url, DESK, "writer", WallInfraClock())
    bus.subscribe(recorder, producers=["writer"], types=[CandleClosed], group="g")
    await bus.start()
    await publish(bus, 1)
    await eventually(lambda: recorder.numbers == [1])
    await bus.stop()


async def test_each_mistake_with_tls_says_what_to_mend(tls_port: int, certificates: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{tls_port}"
    ours = f"ssl_certfile={certificates}/cert.pem&ssl_keyfile={certificates}/key.pem"
    assert "not trusted" in await refusal(f"rediss://{address}?ssl_ca_certs={certificates}/other.pem&{ours}")
    name = await refusal(f"rediss://{address}?ssl_ca_certs={certificates}/ca.pem&server_name=elsewhere&{ours}")
    assert "server_name=" in name
    assert "client certificate" in await refusal(f"rediss://{address}?ssl_ca_certs={certificates}/ca.pem")
    assert "begin with rediss" in await refusal(f"redis://{address}")
    missing = await refusal(f"rediss://{address}?ssl_ca_certs={certificates}/nothing.pem")
    assert "nothing.pem" in missing
    async with server(tmp_path / "plain") as plain:
        spoken = await refusal(f"rediss://127.0.0.1:{plain.port}?ssl_ca_certs={certificates}/ca.pem")
        assert "with redis instead of rediss" in spoken


def documented_acl() -> list[str]:
    """The words of the page's ``ACL SETUSER`` line, for the desk of these tests."""
    line = next(line for line in ACL_PAGE.read_text().splitlines() if line.startswith("ACL SETUSER"))
    return line.replace("DESK", DESK).replace("PASSWORD", "word").split()


async def test_user_with_the_documented_acl_runs_everything_and_no_other_desk(
    tmp_path: Path, recorder: Recorder, publish: Any, eventually: Any
) -> None:
    from breakwater.domain.rate_budget import Cost, Lane
    from breakwater.runtime.dead_letters import DeadLetters
    from breakwater.runtime.redis_kv import RedisKeyValueStore
    from breakwater.runtime.redis_rate import RedisSharedBudget
    from breakwater.runtime.redis_trimming import Trimmer

    async with server(tmp_path) as running:
        await ask(running.port, *documented_acl())
        url = f"redis://desk:word@127.0.0.1:{running.port}"
        recorder.fail = _fail_on_two
        bus = RedisBus(url, DESK, "writer", WallInfraClock())
        bus.subscribe(recorder, producers=["writer"], types=[CandleClosed], group="g")
        bus.subscribe(recorder, producers=["writer"], types=[CandleClosed], group=None)
        await bus.start()
        for number in (1, 2):
            await publish(bus, number)
        await eventually(lambda: bus.counters.dead_letters == 1)
        client = RedisClient(url, socket_timeout=2)
        letters = DeadLetters(client, DESK)
        await eventually(lambda: bus.counters.letters_kept == 1)
        (letter,) = await letters.oldest(10)
        recorder.fail = lambda number: None
        await letters.requeue(letter, datetime.datetime.now(datetime.UTC))
        await eventually(lambda: recorder.numbers.count(2) == 1)
        await Trimmer(client, DESK, "writer", WallInfraClock(), bus.counters, history=1).trim()
        await bus.stop()
        store = RedisKeyValueStore(url, WallInfraClock())
        assert await store.set_if_higher(f"breakwater:{DESK}:policy", 1, b"x")
        assert await store.get(f"breakwater:{DESK}:policy") == b"x"
        await store.close()
        shared = RedisSharedBudget(url, venue="v", address="default", member=f"{DESK}/execution")
        assert (await shared.take(Lane.EXITS, Cost(weight=1, command=True, orders=1))).lack is None
        await shared.heard(100, 1.0, banned=False)
        assert (await shared.take(Lane.EXITS, Cost(weight=1))).pause_s > 0
        await shared.close()
        with pytest.raises(LOST, match=r"does not let user 'desk' run XLEN on bw:\{other\}:dead .*redis\.md"):
            await client.run("XLEN", "bw:{other}:dead")
        with pytest.raises(LOST, match="does not let user 'desk' run FLUSHALL"):
            await client.run("FLUSHALL")
        await client.close()


def _fail_on_two(number: int) -> None:
    if number == 2:
        raise ValueError("no")
