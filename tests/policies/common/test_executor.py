"""Units of work: the same results whoever does them, and deaths that are noticed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from policies.common import executor
from policies.common.errors import InputError
from policies.common.executor import (
    Chain,
    Unit,
    Workers,
    at_once,
    drive,
    once,
    usual_workers,
)

ALL = [Workers(1), Workers(2)]


def double(x: int) -> int:
    return 2 * x


def die_once(marker: str, x: int) -> int:
    """The first one of a name takes its process with it."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(text: str) -> None:
    raise InputError(text)


@pytest.mark.parametrize("workers", ALL)
def test_chains_get_the_results_of_their_own_units(workers: Workers) -> None:
    seen: dict[int, list[Any]] = {}

    def chain(start: int) -> Chain:
        values = [start, start + 1]
        for _ in range(3):
            values = yield [Unit("double", double, (x,)) for x in values]
            assert (yield []) == []
        seen[start] = values

    with workers.executor() as by:
        drive(by, once(chain(start) for start in (1, 10, 100)))
    assert seen == {start: [8 * start, 8 * (start + 1)] for start in (1, 10, 100)}


def test_a_unit_whose_process_dies_is_done_again(tmp_path: Path) -> None:
    units = [Unit(f"{x}", die_once, (str(tmp_path / str(x)), x)) for x in range(3)]
    with Workers(2).executor() as by:
        assert at_once(by, units) == [0, 1, 2]


def test_processes_that_always_die_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BREAKS", 1)
    with (
        pytest.raises(InputError, match="'the last one' died again and again"),
        Workers(2).executor() as by,
    ):
        at_once(by, [Unit("the last one", die, ())])


@pytest.mark.parametrize("workers", ALL)
def test_what_a_unit_raises_is_raised(workers: Workers) -> None:
    with pytest.raises(InputError, match="no such horse"), workers.executor() as by:
        at_once(by, [Unit("refuse", refuse, ("no such horse",)), Unit("double", double, (1,))])


def test_this_process_works_while_the_others_do() -> None:
    done: list[str] = []

    def chain() -> Chain:
        yield [Unit("double", double, (1,))]
        done.append("chain")

    def here(check: Callable[[], None]) -> None:
        until = time.monotonic() + 60
        while not done and time.monotonic() < until:  # the chain ends while this goes on
            time.sleep(0.05)
        done.append("here")

    with Workers(2).executor() as by:
        drive(by, once([chain()]), meanwhile=here)
    assert done == ["chain", "here"]


def test_an_interruption_of_this_process_ends_all(tmp_path: Path) -> None:
    def here(check: Callable[[], None]) -> None:
        until = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        raise KeyboardInterrupt

    began = time.monotonic()
    units = [Unit("sleep", tell_and_sleep, (str(tmp_path),))]

    def chain() -> Chain:
        yield units

    with pytest.raises(KeyboardInterrupt), Workers(2).executor() as by:
        drive(by, once([chain()]), meanwhile=here)
    assert time.monotonic() - began < 40  # the unit would have slept for a minute
    (worker,) = (int(path.name) for path in tmp_path.iterdir())
    until = time.monotonic() + 20
    while _alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _alive(worker)


def test_what_fails_beside_this_process_ends_its_own_work() -> None:
    def chain() -> Chain:
        yield [Unit("refuse", refuse, ("no such horse",))]

    def here(check: Callable[[], None]) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            check()
            time.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(InputError, match="no such horse"), Workers(2).executor() as by:
        drive(by, once([chain()]), meanwhile=here)
    assert time.monotonic() - began < 40


class OneWorker:
    """An executor of one worker whose process is busy with something else at first."""

    here, workers = False, 1
    deaths: tuple[type[Exception], ...] = ()

    def submit(self, unit: Unit) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(unit.work(*unit.arguments))
        return future

    def close(self, failed: bool) -> None:
        pass


def test_a_process_that_waits_for_itself_does_not_spin() -> None:
    looks: list[float] = []
    results: list[Any] = []

    def chain() -> Chain:
        results.extend((yield [Unit("double", double, (4,))]))

    def here(check: Callable[[], None]) -> None:
        time.sleep(1.0)

    drive(OneWorker(), once([chain()]), lambda: looks.append(0.0), here)
    assert results == [8]
    assert len(looks) < 50


def test_a_unit_that_kills_its_worker_is_found_among_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others are done all the same, however often they were lost with it."""
    monkeypatch.setattr(executor, "BREAKS", 3)
    units = [Unit(f"good {x}", die_once, (str(tmp_path / str(x)), x)) for x in range(4)]
    with (
        pytest.raises(InputError, match="'the bad one' died again and again"),
        Workers(2).executor() as by,
    ):
        at_once(by, [*units, Unit("the bad one", die, ())])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"number": 0}, "--workers must be at least 1"),
        ({"shards": 0}, "--shards must be at least 1"),
        ({"engine": "spark"}, "--engine 'spark'"),
        ({"address": "auto"}, "say --engine ray"),
    ],
)
def test_workers_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Workers(**wrong)


def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTREC_WORKERS", "3")
    assert usual_workers() == 3
    monkeypatch.setenv("GPTREC_WORKERS", "many")
    with pytest.raises(InputError, match="GPTREC_WORKERS=many"):
        usual_workers()


SLEEPERS = """
import time
from policies.common.executor import Unit, Workers, at_once
from tests.policies.common.test_executor import tell_and_sleep
with Workers(2).executor() as by:
    at_once(by, [Unit("sleep", tell_and_sleep, (FOLDER,))] * 2)
"""


def tell_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_no_process_outlives_the_one_that_made_it(tmp_path: Path) -> None:
    code = SLEEPERS.replace("FOLDER", repr(str(tmp_path)))
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(map(_alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_alive, workers))


def test_in_one_process_nothing_goes_on_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTREC_WORKERS", "3")
    with Workers(1).executor():
        assert usual_workers() == 1
    assert usual_workers() == 3
    monkeypatch.delenv("GPTREC_WORKERS")
    with Workers(1).executor():
        assert usual_workers() == 1
    assert "GPTREC_WORKERS" not in os.environ


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:99999999999999999999"])
def test_an_address_where_nothing_answers_is_one_line(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="nothing answers there"):
        executor._refuse_silence(address)
    assert time.monotonic() - began < 30


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install() -> None:
    with (
        pytest.raises(InputError, match=r"pip install '.\[ray\]'"),
        Workers(engine="ray").executor(),
    ):
        pass
