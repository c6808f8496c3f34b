"""``breakwater-operator``: reads like a contents page."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Annotated

import kopf
import structlog
import typer

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.http import HttpServer, PortInUse, component_app
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.logging import configure_logging, redactor
from breakwater.runtime.settings import SettingsError
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.applier import Applier
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable, Conflict
from breakwater_operator.cluster.events import EventRecorder
from breakwater_operator.cluster.kinds import EMERGENCY_STOP, OWN, TRADING_POLICY
from breakwater_operator.cluster.login import NoLogin, load_configuration
from breakwater_operator.desk.link import Desk, DeskLink, Locate, service_url
from breakwater_operator.desk.publisher import Publisher
from breakwater_operator.desk.pulse import Pulse
from breakwater_operator.handlers import watch
from breakwater_operator.handlers.context import Context
from breakwater_operator.handlers.emergency_stop import StopHandler
from breakwater_operator.handlers.resync import Resync
from breakwater_operator.handlers.trading_policy import PolicyHandler
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.selftest import selftest
from breakwater_operator.settings import OperatorSettings, load_settings
from breakwater_operator.store import Store
from breakwater_operator.watches import Watches
from breakwater_operator.work_queue import Key, Lane, Retry, WorkQueue

log = structlog.get_logger(__name__)

DEPENDENCY_SECONDS = 5.0
app = typer.Typer(add_completion=False, help="Runs Breakwater's trading desks on Kubernetes.")


class Operator(Service):
    """The whole operator. ``locate`` says where a desk's components listen."""

    name = "operator"

    def __init__(
        self, settings: OperatorSettings, environment: Mapping[str, str], locate: Locate = service_url
    ) -> None:
        super().__init__()
        self.settings, self._environment, self._locate = settings, environment, locate
        self.clock = WallInfraClock()
        self.metrics = OperatorMetrics(version=version("breakwater"))
        self.context: Context | None = None
        self.http: HttpServer | None = None
        self._parts: list[Service] = []
        self.part_started: Callable[[], None] = lambda: None
        """Called after each part: kopf takes the process' signals over, and whoever runs this wants them back at once."""
        self._missing = "starting"

    async def start(self) -> None:
        """Serve probes, wait until the API server has our kinds, list everything, then watch and work."""
        settings, clock, metrics, jitter = self.settings, self.clock, self.metrics, random.Random()
        configuration = await load_configuration(self._environment)
        objects = Store()
        api = Api(configuration, metrics)
        queue = WorkQueue(self._look, clock, jitter, metrics)
        applier = Applier(api, objects)
        link = DeskLink(clock, self._locate)
        self.context = Context(
            settings=settings,
            clock=clock,
            metrics=metrics,
            api=api,
            objects=objects,
            queue=queue,
            applier=applier,
            recorder=EventRecorder(api, clock, self._environment.get("HOSTNAME", "")),
            publisher=Publisher(api, objects, settings.redis_url, clock, metrics),
            link=link,
            pulse=Pulse(link, clock, jitter, metrics, self._desk_changed),
        )
        self._policies, self._stops = PolicyHandler(self.context), StopHandler(self.context)
        registry = kopf.OperatorRegistry()
        watch.register(registry, objects, queue, metrics)
        watches = Watches(registry, configuration, settings.namespaces)
        resync = Resync(api, objects, queue, applier, clock, jitter, metrics, settings.namespaces)
        self._parts = [watches, resync, self.context.pulse, queue]
        served = component_app([self, *self._parts], metrics, clock, title="Breakwater operator")
        self.http = HttpServer(served, settings.http_host, settings.http_port)
        await self.http.start()
        self.spawn(self._ask_dependencies(), "dependencies")
        await self._await_kinds(api)
        self._missing = "the first lists are not complete"
        await resync.first()
        self._missing = ""
        for part in self._parts:
            await part.start()
            self.part_started()
        log.info("operator runs", port=self.http.port, namespaces=list(settings.namespaces) or "all")

    async def stop(self) -> None:
        for part in reversed(self._parts):
            await part.stop()
        await super().stop()
        if self.context is not None:
            await self.context.link.close()
            await self.context.publisher.close()
            await self.context.api.close()
        if self.http is not None:
            await self.http.stop()

    async def until_failed(self) -> None:
        """Raise RuntimeError with the reason when any part fails."""
        parts = [self, *self._parts, *([self.http] if self.http else [])]
        waiting = [asyncio.ensure_future(part.raise_when_failed()) for part in parts]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waiting:
                task.cancel()

    def readiness(self) -> dict[str, Check]:
        checks = {**super().readiness(), "start": Check(not self._missing, self._missing or "complete")}
        if self.context is not None:
            problem = self.context.api.problem
            checks |= {"store": self.context.publisher.readiness(), "api": Check(not problem, problem or "it answers")}
        return checks

    async def _look(self, key: Key) -> float | None:
        handler = self._policies if key.kind == TRADING_POLICY.name else self._stops
        try:
            return await handler.look(key)
        except Conflict as error:
            raise Retry(str(error), at_once=True) from error
        except ApiUnavailable as error:
            raise Retry(str(error), most=5.0) from error
        except ApiError as error:
            raise Retry(str(error)) from error

    def _desk_changed(self, desk: Desk) -> None:
        """Something a desk says of itself is new."""
        assert self.context is not None
        queue = self.context.queue
        queue.add(Key(TRADING_POLICY.name, desk.namespace, desk.policy))
        known = self.context.known.get((desk.namespace, desk.policy))
        for stop in known.stops if known else ():
            queue.add(Key(EMERGENCY_STOP.name, desk.namespace, stop), lane=Lane.URGENT)

    async def _await_kinds(self, api: Api) -> None:
        path = f"/apis/{OWN[0].api_version}"
        while True:
            try:
                served = {resource["name"] for resource in (await api.read(path)).get("resources", [])}
                missing = [kind.plural for kind in OWN if kind.plural not in served]
                if not missing:
                    return
                problem = f"the API server does not serve {' and '.join(missing)}: apply the files in crds/"
            except (ApiError, ApiUnavailable) as error:
                problem = str(error)
            if problem != self._missing:
                log.warning("waiting for the custom resources", reason=problem)
            self._missing = problem
            await self.clock.sleep(1.0)

    async def _ask_dependencies(self) -> None:
        assert self.context is not None
        while True:
            await asyncio.gather(self.context.publisher.ping(), self.context.api.ping())
            await self.clock.sleep(DEPENDENCY_SECONDS)


async def serve(settings: OperatorSettings, environment: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT (0) or until a part fails (1)."""
    operator = Operator(settings, environment)
    stop = asyncio.Event()
    operator.part_started = lambda: _on_signals(stop)
    starting = asyncio.ensure_future(operator.start())
    stopping = asyncio.ensure_future(stop.wait())
    failing: asyncio.Future[None] | None = None
    try:
        _on_signals(stop)
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return 0
        starting.result()
        failing = asyncio.ensure_future(operator.until_failed())
        await asyncio.wait([failing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        return 0
    except RuntimeError as error:
        log.error("the operator ends", reason=str(error))
        return 1
    finally:
        starting.cancel()
        stopping.cancel()
        if failing is not None:
            failing.cancel()
        await operator.stop()


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run()


@app.command()
def run() -> None:
    """Run the operator until SIGTERM. Settings come from the environment (docs/reference/operator.md)."""
    try:
        settings = load_settings(os.environ)
        configure_logging(format_=settings.log_format, level=settings.log_level, component="operator")
        redactor.register(settings.operator_key)
        raise typer.Exit(asyncio.run(serve(settings, os.environ)))
    except (SettingsError, NoLogin, PortInUse) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from None


@app.command("selftest")
def run_selftest(
    url: Annotated[str, typer.Option(help="The operator's address; BREAKWATER_OPERATOR_URL when left out.")] = "",
) -> None:
    """Check an installation: the custom resources, the operator, the store. Run by helm test."""
    configure_logging(level="error")
    environment = {**os.environ, **({"BREAKWATER_OPERATOR_URL": url} if url else {})}
    raise typer.Exit(asyncio.run(selftest(environment)))


def main() -> None:
    """Entry point of the command."""
    app()
