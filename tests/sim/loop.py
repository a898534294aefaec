"""An asyncio event loop in virtual time, on which processes can be killed and paused at any await.

Owns time, the order of steps, and which process a step belongs to. A context variable carries the process, so that
whatever a process schedules (tasks, timers, callbacks of futures) belongs to it unasked: after `kill` none of its steps
runs any more, not even a `finally`; while paused its steps are held, and run when it is resumed. Never reads the
machine's clock, never uses threads.
"""

import asyncio
import contextvars
import heapq
import zlib
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)

#: Steps without any time passing, after which somebody is taken to spin.
STEPS_AT_ONCE_MAX: Final = 200_000
#: Finished tasks are forgotten when a process has so many.
_TASKS_SWEEP: Final = 512
_TIMERS_CANCELLED_MAX: Final = 1000


class Violation(AssertionError):
    """What must always hold does not. The text begins with the name of the invariant."""


class ProcessExit(BaseException):
    """The current process ends in the middle of a step; nothing outside of it may change any more."""


class Process:
    """One incarnation of a process. `machine` is the name of the machine that it runs on."""

    def __init__(self, name: str, machine: str) -> None:
        self.name = name
        self.machine = machine
        self.alive = True
        self.paused = False
        self.held: deque[events.Handle] = deque()
        #: Strong references: a dead coroutine that is collected would run its `finally`.
        self.tasks: list[asyncio.Task[Any]] = []
        #: Called after each step of the process.
        self.on_step: Callable[[], None] | None = None
        #: Called once, when it ceases to be alive.
        self.on_death: list[Callable[[], None]] = []
        #: Ends the process from within, in the middle of a step.
        self.crash: Callable[[], None] = lambda: None
        self._context = contextvars.Context()
        self._context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name

    def context(self) -> contextvars.Context:
        """A context that makes what runs in it a part of this process."""
        return self._context.copy()


class SimLoop(asyncio.BaseEventLoop):
    """Time stands still while a step runs, and jumps to the next timer when nobody has anything to do."""

    # Of asyncio's own loop.
    _ready: deque[Any]
    _scheduled: list[Any]
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._clock_resolution = 1e-9
        self.steps = 0
        #: A checksum of everything that was noted: equal for equal seeds.
        self.trace = 0
        #: Raised out of the loop before its next step.
        self.failure: BaseException | None = None
        #: Serves `create_server` and `create_connection`.
        self.tcp: Any = None
        self._steps_at_once = 0
        self._processes: list[Process] = []
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now_s

    def note(self, *event: object) -> None:
        """Make `event` a part of the trace."""
        self.trace = zlib.crc32(repr((round(self._now_s, 9), *event)).encode(), self.trace)

    # Processes

    def new_process(self, name: str, machine: str) -> Process:
        process = Process(name, machine)
        self._processes.append(process)
        return process

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `coroutine` as a task of `process`."""
        return self.create_task(coroutine, name=name, context=process.context())

    def kill(self, process: Process) -> None:
        """End `process` at once and without a trace of politeness."""
        if process.alive:
            process.alive = False
            process.held.clear()
            process.on_step = None
            for callback in process.on_death:
                callback()

    def pause(self, process: Process) -> None:
        process.paused = True

    def resume(self, process: Process) -> None:
        process.paused = False
        self._ready.extend(process.held)
        process.held.clear()

    def dispose(self) -> None:
        """Let go of everything after the run; whatever coroutines do about that has no effect."""
        self.set_exception_handler(lambda _loop, _context: None)
        for process in self._processes:
            process.alive = False
            for task in process.tasks:
                _silence(task)
                coroutine = task.get_coro()
                if not task.done() and isinstance(coroutine, Coroutine):
                    _end(coroutine)
            process.tasks.clear()
        self._ready.clear()
        self._scheduled.clear()
        self.close()

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            tasks = process.tasks
            tasks.append(task)
            if len(tasks) % _TASKS_SWEEP == 0:
                tasks[:] = [each for each in tasks if not each.done()]
        return task

    # What asyncio asks of a loop

    def _run_once(self) -> None:
        if self.failure is not None:
            raise self.failure
        ready, scheduled = self._ready, self._scheduled
        self._drop_cancelled_timers()
        if not ready:
            if not scheduled:
                raise Violation("deadlock: nobody has anything to do, now or later")
            if scheduled[0]._when > self._now_s:
                self._now_s = scheduled[0]._when
                self._steps_at_once = 0
        while scheduled and scheduled[0]._when <= self._now_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                ready.append(timer)
        for _ in range(len(ready)):
            self._step(ready.popleft())

    def _step(self, handle: Any) -> None:
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)
        if process is None:
            self._count()
            handle._run()
        elif not process.alive:
            return
        elif process.paused:
            process.held.append(handle)
        else:
            self._count()
            handle._run()
            if process.on_step is not None:
                process.on_step()
        if self.failure is not None:
            raise self.failure

    def _count(self) -> None:
        self.steps += 1
        self._steps_at_once += 1
        if self._steps_at_once > STEPS_AT_ONCE_MAX:
            raise Violation(f"livelock: {STEPS_AT_ONCE_MAX} steps at {self._now_s:.6f} s")

    def _drop_cancelled_timers(self) -> None:
        scheduled = self._scheduled
        if self._timer_cancelled_count > _TIMERS_CANCELLED_MAX and 2 * self._timer_cancelled_count > len(scheduled):
            kept = []
            for timer in scheduled:
                if timer._cancelled:
                    timer._scheduled = False
                else:
                    kept.append(timer)
            heapq.heapify(kept)
            scheduled[:] = kept
            self._timer_cancelled_count = 0
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def _process_events(self, event_list: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, *_arguments: Any) -> Any:  # type: ignore[override]
        raise AssertionError("threads are not deterministic")

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        return await self.tcp.create_server(*arguments, **options)

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        return await self.tcp.create_connection(*arguments, **options)


def _silence(task: Any) -> None:
    task._log_destroy_pending = False
    task._log_traceback = False


def _end(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        coroutine.close()
    except BaseException:
        # A `finally` of a process that is long dead failed: nobody is left whom that could concern.
        pass
