"""The processes of a node: each builds the real adapters, runs one role on an event loop, and stops it on SIGTERM."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import uvloop

from broker.server import BrokerServer, StartRefused
from cluster.config.node import NodeConfig
from cluster.host.clock import SystemClock
from cluster.host.disk import HostDisk
from cluster.host.rng import SystemRng
from cluster.host.spawner import TaskSpawner
from cluster.net.grpc_net import GrpcNet
from controller.raft.barrier import StorageCorrupt, StorageFailed
from controller.server import ControllerServer
from node.logs import set_up_logging
from node.processes import EXIT_REFUSED

log = logging.getLogger(__name__)

#: Folder of the controller's journal below the log directory.
CONTROLLER_FOLDER = "__cluster_metadata"

#: What requests leave behind is freed by reference counts; the collector is there for cycles, which they must not make.
#: By default it looks at the young after 700 net allocations: with a thousand requests in flight that took a tenth of a
#: broker's processor time.
GC_THRESHOLDS = (20_000, 20, 20)
#: Heaps of the C library. By default each of gRPC's threads may have one, which keeps the pages of the largest messages
#: that passed through it: fewer are smaller, and warmer.
HEAPS_MAX = 2
#: The number of that setting for glibc's `mallopt`.
_M_ARENA_MAX = -8

EXIT_FAIL_STOP = 70


class Server(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def run_controller(config: NodeConfig) -> int:
    """Run this node's controller until SIGTERM; returns the exit code."""

    def build() -> Server:
        return ControllerServer(
            config=config,
            net=GrpcNet(f"controller-{config.node_id}"),
            disk=HostDisk(os.path.join(config.log_dir, CONTROLLER_FOLDER)),
            clock=SystemClock(),
            rng=SystemRng(),
            spawner=TaskSpawner(_fail_stop),
        )

    return _run(f"controller-{config.node_id}", build)


def run_broker(config: NodeConfig) -> int:
    """Run this node's broker until SIGTERM; returns the exit code."""

    def build() -> Server:
        return BrokerServer(
            config=config,
            net=GrpcNet(f"broker-{config.node_id}"),
            disk=HostDisk(config.log_dir),
            clock=SystemClock(),
            rng=SystemRng(),
            spawner=TaskSpawner(_fail_stop),
            fail_stop=lambda reason: _fail_stop("broker", RuntimeError(reason)),
        )

    return _run(f"broker-{config.node_id}", build)


def _run(name: str, build: Callable[[], Server]) -> int:
    set_up_logging(name)
    _set_up_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(name, build))


def _set_up_memory() -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has it
        mallopt(_M_ARENA_MAX, HEAPS_MAX)


async def _serve(name: str, build: Callable[[], Server]) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C and a closed terminal reach all processes at once; the parent tells its roles when it is their turn.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        server = build()
        started = await _unless(stop, server.start())
    except (StartRefused, StorageCorrupt, StorageFailed, OSError, ValueError) as error:
        log.critical("%s does not start: %s", name, error)
        return EXIT_REFUSED
    if started:
        log.info("%s is up", name)
        await stop.wait()
    await server.stop()
    log.info("%s stopped", name)
    return 0


async def _unless(stop: asyncio.Event, start: Awaitable[None]) -> bool:
    """Whether `start` finished before `stop` was asked for; raises what it raises."""
    starting = asyncio.ensure_future(start)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.wait([starting])
    return False


def _fail_stop(task: str, error: BaseException) -> None:
    """End the process at once: after an error that nobody foresaw, nothing that it would still do can be trusted."""
    log.critical("%s failed, the process ends: %r", task, error)
    logging.shutdown()
    os._exit(EXIT_FAIL_STOP)
