"""Where units of work are done: in this process, on processes of this machine, or on a cluster.

A unit is a function of its arguments that reads files and writes files, and may be done twice: the
second time it finds what the first has left. Chains of units are plain generators: each yields the
units that it needs next, and gets their results once all of them are done. Who does a unit, and
beside which others, never changes a result.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from policies.common.errors import InputError, shown, suggestion

ENGINES = ("local", "ray")
BREAKS = 5  # workers that may die at one unit
PATIENCE = 5.0  # s, for a cluster to answer
SUSPECT = 2  # deaths after which a unit is done with no other beside it
WATCH = 0.5  # s between two looks at the units under way
IDLE = 120  # s after which a process without work ends


@dataclass(frozen=True)
class Unit:
    """A call of a function that can be imported.

    Attributes:
        name: in words, for whoever waits. arguments: small; what is large lies in files.
    """

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


Chain = Generator[list[Unit], list[Any], None]


class Executor(Protocol):
    """Whoever does units.

    Attributes:
        workers: how many units at once. here: whether in this process. deaths: what is raised
            where whoever did a unit is gone.
    """

    workers: int
    here: bool
    deaths: tuple[type[Exception], ...]

    def submit(self, unit: Unit) -> "Future[Any]": ...

    def close(self, failed: bool) -> None: ...


class InProcess:
    """One unit after the other, here."""

    workers, here = 1, True
    deaths: tuple[type[Exception], ...] = ()

    def submit(self, unit: Unit) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(unit.work(*unit.arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self, failed: bool) -> None:
        """Nothing is left."""


class OnProcesses:
    """Processes of this machine, by loky: they import no `__main__`, and a death is noticed."""

    here = False
    deaths: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, workers: int):
        self.workers = workers
        self.pool: Any = None

    def submit(self, unit: Unit) -> "Future[Any]":
        while True:
            try:
                future: Future[Any] = self._pool().submit(unit.work, *unit.arguments)
            except BrokenExecutor:  # a worker died just now; the next pool is a new one
                continue
            return future

    def _pool(self) -> Any:
        from joblib.externals import loky

        self.pool = loky.get_reusable_executor(
            self.workers,
            timeout=IDLE,
            initializer=_begin,
            initargs=(os.getpid(),),
            env=dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        )
        return self.pool

    def close(self, failed: bool) -> None:
        """Processes wait a while for more work, unless what they do is of no use any more."""
        if failed and self.pool is not None:
            self.pool.shutdown(kill_workers=True)


def _begin(parent: int) -> None:
    """In a worker: Ctrl-C is the parent's matter, and without it there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class OnRay:
    """A cluster, or this machine, by Ray. The folders of units must be where all nodes see them."""

    here = False

    def __init__(self, workers: int | None, address: str | None):
        try:
            import ray
        except ImportError:
            raise InputError(
                "--engine ray wants the package ray; install it with pip install '.[ray]', or use"
                " --engine local"
            ) from None
        self._ray = ray
        of_ray = ray.exceptions
        self.deaths: tuple[type[Exception], ...] = (
            of_ray.WorkerCrashedError,
            of_ray.NodeDiedError,
            of_ray.OutOfMemoryError,
            of_ray.RaySystemError,
        )
        self.own = not ray.is_initialized()
        _refuse_silence(address)
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        try:
            ray.init(
                address=address or "local",  # not one that happens to run here
                num_cpus=None if address else workers,
                ignore_reinit_error=True,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
            )
        except Exception as error:  # of many kinds, among them bare ones
            where = "on this machine" if address is None else f"at --address {address}"
            raise InputError(f"Ray does not start {where}: {shown(error)}") from None
        there = int(ray.cluster_resources().get("CPU", 1))
        self.workers = there if workers is None else min(workers, there)

    def submit(self, unit: Unit) -> "Future[Any]":
        task = self._ray.remote(num_cpus=1, max_retries=BREAKS)(unit.work)
        future: Future[Any] = task.remote(*unit.arguments).future()
        return future

    def close(self, failed: bool) -> None:
        if self.own:
            self._ray.shutdown()


def _refuse_silence(address: str | None) -> None:
    """Raises InputError where nothing answers at HOST:PORT: Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal() or "/" in host:  # auto, or an address of another kind
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {shown(address)}: nothing answers there ({shown(error)}); start it with"
            " ray start --head"
        ) from None


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_workers(threads: int = 1) -> int:
    """What GPTREC_WORKERS says, or as many as the cores bear with so many threads each."""
    said = os.environ.get("GPTREC_WORKERS")
    if said is None:
        return max(1, cores() // threads)
    if not said.isdecimal() or not int(said):
        raise InputError(f"GPTREC_WORKERS={said}: wanted a number of processes, such as 2")
    return int(said)


@dataclass(frozen=True)
class Workers:
    """Who does the work of a command; it never changes a result.

    Attributes:
        number: units at once; None = what GPTREC_WORKERS says, or one for each core, or those of
            the cluster. engine: one of `ENGINES`. address: of a Ray cluster; None = this machine.
        shards: in how many parts users are served; None = as many as workers.
    """

    number: int | None = None
    engine: str = "local"
    address: str | None = None
    shards: int | None = None

    def __post_init__(self) -> None:
        for flag, value in (("--workers", self.number), ("--shards", self.shards)):
            if value is not None and value < 1:
                raise InputError(f"{flag} must be at least 1, not {value}")
        if self.engine not in ENGINES:
            raise InputError(f"--engine '{self.engine}'{suggestion(self.engine, ENGINES)}")
        if self.address is not None and self.engine != "ray":
            raise InputError("--address is of a Ray cluster; say --engine ray with it")

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        made: Executor
        if self.engine == "ray":
            made = OnRay(self.number, self.address)
        else:
            number = usual_workers() if self.number is None else self.number
            made = InProcess() if number == 1 else OnProcesses(number)
        failed, before = True, os.environ.get("GPTREC_WORKERS")
        if made.here:  # a fit in this process has no threads beside it, either
            os.environ["GPTREC_WORKERS"] = "1"
        try:
            yield made
            failed = False
        finally:
            if made.here:
                del os.environ["GPTREC_WORKERS"]
                if before is not None:
                    os.environ["GPTREC_WORKERS"] = before
            made.close(failed)


HERE = Workers(1)


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who does the work (never changes a result)")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes, of one thread each (default: one for each core)",
    )
    group.add_argument(
        "--engine", choices=ENGINES, default="local", help="processes of this machine, or Ray"
    )
    group.add_argument(
        "--address",
        help="of a Ray cluster, such as auto (default: this machine); with --engine ray",
    )
    group.add_argument(
        "--shards", type=int, metavar="N", help="parts in which users are served (default: workers)"
    )


def given_workers(given: dict[str, Any]) -> Workers:
    """Takes the flags out of those that were given."""
    number, engine, address, shards = (
        given.pop(name) for name in ("workers", "engine", "address", "shards")
    )
    return Workers(number, engine, address, shards)


def at_once(by: Executor, units: list[Unit]) -> list[Any]:
    """Results of units that know nothing of each other, in their order."""
    results: list[Any] = []

    def chain() -> Chain:
        results.extend((yield units))

    drive(by, once([chain()]))
    return results


def once(chains: Iterable[Chain]) -> "Source":
    """These chains, all of which may begin."""
    left = list(chains)

    def source() -> list[Chain]:
        now, left[:] = left[:], []
        return now

    return source


Source = Callable[[], list[Chain]]


def drive(
    by: Executor,
    source: Source,
    look: Callable[[], None] = lambda: None,
    meanwhile: Callable[[Callable[[], None]], None] | None = None,
) -> None:
    """Runs chains side by side until all have ended and no more begin.

    Args:
        source: called again and again, gives the chains that may begin now. look: called every now
            and then while units are under way. meanwhile: done by this process, as one of the
            workers; the source may wait for what it leaves. It is given a function to call now and
            then, which raises where a unit has failed.

    Raises:
        InputError: workers died one after the other. Whatever a unit raised, as it is.
    """
    if meanwhile is not None and by.here:
        meanwhile(lambda: None)
        meanwhile = None
    driver = _Drive(by, source, look, by.workers - (meanwhile is not None))
    if meanwhile is None:
        driver.run()
        return
    with ThreadPoolExecutor(1) as beside:
        units = beside.submit(driver.run)

        def check() -> None:
            if units.done():
                units.result()

        try:
            meanwhile(check)
            driver.most = by.workers
            units.result()
        except BaseException:  # Ctrl-C, say: the thread shall not go on to the end
            driver.stopped = True
            raise


class _Drive:
    """Units under way: future -> its chain, its place in the chain's batch, the unit.

    Attributes:
        most: units under way at once. stopped: nothing more is begun.
    """

    def __init__(self, by: Executor, source: Source, look: Callable[[], None], most: int):
        self.by, self.source, self.look, self.most = by, source, look, most
        self.stopped = False
        self.deaths: Counter[str] = Counter()  # of workers, by the units that they were at
        self.alone = False  # whether the unit under way is to have nobody beside it
        self.waiting: deque[tuple[Chain, int, Unit]] = deque()
        self.under_way: dict[Future[Any], tuple[Chain, int, Unit]] = {}
        self.results: dict[int, list[Any]] = {}
        self.missing: dict[int, int] = {}

    def run(self) -> None:
        """While this process does something itself (`most` is less than the workers), chains are
        waited for.
        """
        try:
            while not self.stopped:
                for chain in self.source():
                    self._go_on(chain, None)
                self._submit()
                if not self.under_way:
                    if not self.waiting and self.most == self.by.workers and not self._more():
                        return
                    if not self.waiting or not self.most:
                        time.sleep(WATCH / 10)
                    continue
                done, _ = wait(self.under_way, timeout=WATCH, return_when=FIRST_COMPLETED)
                self.look()
                for future in done:
                    self._ended(future)
        finally:
            for future in self.under_way:
                future.cancel()

    def _more(self) -> bool:
        """Whether chains begin now."""
        chains = self.source()
        for chain in chains:
            self._go_on(chain, None)
        return bool(chains)

    def _go_on(self, chain: Chain, results: list[Any] | None) -> None:
        """The next units of a chain; an empty batch is done at once."""
        try:
            units = next(chain) if results is None else chain.send(results)
            while not units:
                units = chain.send([])
        except StopIteration:
            return
        self.results[id(chain)] = [None] * len(units)
        self.missing[id(chain)] = len(units)
        self.waiting.extend((chain, place, unit) for place, unit in enumerate(units))

    def _submit(self) -> None:
        """As many units as there are workers for. With a worker all units under way may be lost,
        so one that was there more than once is done with no other beside it.
        """
        while self.waiting and len(self.under_way) < self.most and not self.alone:
            suspect = self.deaths[self.waiting[0][2].name] >= SUSPECT
            if suspect and self.under_way:
                return
            self.alone = suspect
            chain, place, unit = self.waiting.popleft()
            self.under_way[self.by.submit(unit)] = (chain, place, unit)

    def _ended(self, future: "Future[Any]") -> None:
        chain, place, unit = self.under_way.pop(future)
        self.alone = self.alone and bool(self.under_way)
        try:
            result = future.result()
        except self.by.deaths:
            self.deaths[unit.name] += 1
            if self.deaths[unit.name] > BREAKS:
                raise InputError(
                    f"a process that was at '{unit.name}' died again and again (killed for want of"
                    " memory?); use fewer --workers"
                ) from None
            self.waiting.appendleft((chain, place, unit))
            return
        except Exception as error:
            raise self._plain(error, unit) from None
        del self.deaths[unit.name]
        self.results[id(chain)][place] = result
        self.missing[id(chain)] -= 1
        if not self.missing[id(chain)]:
            self._go_on(chain, self.results[id(chain)])

    @staticmethod
    def _plain(error: Exception, unit: Unit) -> Exception:
        """What a unit raised, as it raised it; what goes wrong in Ray itself as one line."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            return cause
        if type(error).__module__.startswith("ray."):
            return InputError(f"Ray failed at '{unit.name}': {shown(error)}; go on with --resume")
        return error
