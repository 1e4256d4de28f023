"""The operator's process: kopf's watch, the office, health and figures, wired together and ended in order.

Called by `__main__` with the options of `operate`. It ends when it is told to, or when the watch dies for good: then
the kubelet starts it anew, which is the remedy.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from ringyard_operator import handlers
from ringyard_operator.errors import KubeError, KubeKindUnknown, RingyardError
from ringyard_operator.health import Health
from ringyard_operator.kube.access import Access
from ringyard_operator.kube.api import Api
from ringyard_operator.kube.kinds import MODEL_ENDPOINTS, TRAINING_JOBS
from ringyard_operator.kube.known import Known
from ringyard_operator.kube.lease import Leadership
from ringyard_operator.kube.office import Office, Place
from ringyard_operator.metrics import Metrics
from ringyard_operator.operatormetrics import OperatorMetrics
from ringyard_operator.resources.setting import Setting
from ringyard_operator.sayonce import SayOnce

LEASE = "ringyard-operator"
_AGAIN_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line said."""

    setting: Setting
    place: Place
    namespaces: tuple[str, ...]
    health_port: int
    metrics_port: int
    kubeconfig: Path | None


async def operate(options: Options) -> None:
    """Until SIGTERM or SIGINT. Raises RingyardError where it cannot go on."""
    said = logging.StreamHandler(sys.stderr)
    said.addFilter(SayOnce())
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(handlers=[said], level=logging.INFO, format=form)
    access = Access.find(options.kubeconfig)
    stop = asyncio.Event()
    registry = CollectorRegistry()
    known, metrics, figures = Known(), Metrics(registry, namespaced=True), OperatorMetrics(registry)
    async with Api(access) as api:
        leadership = Leadership(api, namespace=options.place.namespace, name=LEASE, identity=options.place.identity)
        office = Office(access, leadership, known, options.setting, options.place, options.namespaces, metrics, figures)
        health = Health(known, office.age, options.namespaces)
        try:
            _serve(metrics, options.metrics_port)
            await health.serve(options.health_port)
            _listen_to_signals(stop)
            await _wait_for_kinds(api, options.namespaces, stop)
            await _run(api, access, known, office, health, options.namespaces, stop)
        finally:
            await health.close()
            metrics.close()


async def _run(
    api: Api,
    access: Access,
    known: Known,
    office: Office,
    health: Health,
    namespaces: tuple[str, ...],
    stop: asyncio.Event,
) -> None:
    """All parts until `stop`. The office ends first, in order: it gives the Lease back."""
    if stop.is_set():
        return
    seeing = handlers.watch(access, known, namespaces, lambda: _listen_to_signals(stop))
    watch = asyncio.create_task(seeing, name="kopf")
    compare = asyncio.create_task(health.compare(api), name="comparison")
    working = asyncio.create_task(office.run(stop), name="office")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    asyncio.get_running_loop().call_later(30.0, _say_memory)
    try:
        await asyncio.wait({watch, compare, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        told = stop.is_set()
        stop.set()
        await working
        if not told:
            for task in (watch, compare):
                if task.done():
                    task.result()
            raise RingyardError("the watch of TrainingJobs has ended: the operator has to be started anew")
    finally:
        tasks: list[asyncio.Task[Any]] = [watch, compare, stopping, working]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for_kinds(api: Api, namespaces: tuple[str, ...], stop: asyncio.Event) -> None:
    """kopf looks for the CustomResourceDefinitions once, at its start."""
    said = ""
    while not stop.is_set():
        try:
            for kind in (TRAINING_JOBS, MODEL_ENDPOINTS):
                await api.listing(kind, next(iter(namespaces), ""))
            return
        except KubeError as error:
            hint = ": apply its CustomResourceDefinitions" if isinstance(error, KubeKindUnknown) else ""
            if said != f"{error}{hint}":
                said = f"{error}{hint}"
                log.warning("%s; trying again", said)
        try:
            async with asyncio.timeout(_AGAIN_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue


def _listen_to_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _serve(metrics: Metrics, port: int) -> None:
    try:
        log.info("figures at http://%s/metrics", metrics.serve(port, "0.0.0.0"))
    except OSError as error:
        raise RingyardError(f"--metrics-port {port}: cannot be had ({error}): choose another") from error


def _say_memory() -> None:
    log.info("memory: %d MiB at its highest so far", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
