"""``breakwater-operator selftest``: is what the chart installed there and working? Run by ``helm test``, one line per check."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from breakwater.runtime.redis_client import LOST, RedisClient
from breakwater.runtime.settings import parse_redis_url
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable
from breakwater_operator.cluster.kinds import OWN
from breakwater_operator.cluster.login import NoLogin, load_configuration
from breakwater_operator.metrics import OperatorMetrics

SECONDS = 10.0


class Failed(Exception):
    """A check failed; the sentence says what to do."""


Check = Callable[[Mapping[str, str]], Awaitable[str]]


async def selftest(environment: Mapping[str, str]) -> int:
    """Exit code: 0 when every check passed. Prints one line per check."""
    failed = 0
    for name, check in CHECKS.items():
        try:
            async with asyncio.timeout(SECONDS):
                said = await check(environment)
            sys.stdout.write(f"ok   {name}: {said}\n")
        except (Failed, NoLogin) as error:
            failed += 1
            sys.stdout.write(f"FAIL {name}: {error}\n")
        except TimeoutError:
            failed += 1
            sys.stdout.write(f"FAIL {name}: no answer within {SECONDS:g} s\n")
    return 1 if failed else 0


async def _resources(environment: Mapping[str, str]) -> str:
    api = Api(await load_configuration(environment), OperatorMetrics(version=""))
    path = f"/apis/{OWN[0].api_version}"
    try:
        served = await api.read(path)
    except (ApiError, ApiUnavailable) as error:
        raise Failed(f"{error}; install the chart with crds.enabled=true, or kubectl apply -f crds/") from None
    finally:
        await api.close()
    names = {resource["name"] for resource in served.get("resources", [])}
    missing = [kind.plural for kind in OWN if kind.plural not in names or f"{kind.plural}/status" not in names]
    if missing:
        raise Failed(f"the API server does not serve {' and '.join(missing)}: apply the files in crds/")
    return f"{path} serves {' and '.join(kind.plural for kind in OWN)}"


async def _operator(environment: Mapping[str, str]) -> str:
    url = environment.get("BREAKWATER_OPERATOR_URL", "").rstrip("/")
    if not url:
        raise Failed(
            "set BREAKWATER_OPERATOR_URL to the operator's Service, for example http://breakwater-operator:8080"
        )
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(f"{url}/readyz", params={"verbose": ""}) as answer,
        ):
            text = await answer.text()
    except (aiohttp.ClientError, OSError) as error:
        raise Failed(f"{url}/readyz: {error}; look at kubectl get pods and the operator's log") from None
    if answer.status != 200:
        missing = [line for line in text.splitlines() if line.startswith("[-]")] or [text.strip()]
        raise Failed(f"{url}/readyz answers {answer.status}: {'; '.join(missing)}")
    return f"{url}/readyz answers 200"


async def _store(environment: Mapping[str, str]) -> str:
    try:
        url = parse_redis_url(environment.get("REDIS_URL", ""))
    except ValueError as error:
        raise Failed(f"REDIS_URL: {error}") from None
    client = RedisClient(url, socket_timeout=SECONDS / 2)
    try:
        await client.run("PING")
        persistence = await client.run("INFO", "persistence")
    except LOST as error:
        raise Failed(
            f"the store does not answer: {error}; look at the store's pod, its password and its Service"
        ) from None
    finally:
        await client.close()
    if not re.search(r"aof_enabled\W+1\b", str(persistence)):
        raise Failed("the store keeps no append-only file, so a restart of it loses events: set appendonly yes")
    return "the store answers and keeps an append-only file"


CHECKS: dict[str, Check] = {"resources": _resources, "operator": _operator, "store": _store}
