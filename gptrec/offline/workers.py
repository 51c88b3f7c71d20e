"""Trials in processes of their own, some at a time, so that memory and random state are each one's
own.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from gptrec.offline import trials
from gptrec.offline.leave_one_out import read
from gptrec.offline.trials import Task
from policies.common.processes import die_with_the_parent
from policies.sources.roles import Reading

Data = tuple[str, Reading]  # --data, and how it is read


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=die_with_the_parent)


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with _pool() as pool:
        return pool.submit(function, *arguments).result()


def run_all(
    tasks: Iterable[Task],
    data: Data,
    out: Path,
    bar: Progress,
    jobs: int,
    after: Callable[[list[dict[str, Any]]], None] = lambda records: None,
) -> dict[str, dict[str, Any]]:
    """Records by the tasks' files; `jobs` trials at a time, each with its share of the threads.

    Args:
        after: called with the records so far when a trial has ended, never twice at once.
    """
    finished: dict[str, dict[str, Any]] = {}
    stop, one_by_one = threading.Event(), threading.Lock()
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(die_with_the_parent)  # one process, whatever the trials

    def one(task: Task) -> None:
        if stop.is_set():
            return
        record = _apart(task, data, out, bar, stop, manager.dict())
        with one_by_one:
            finished[task.file] = record
            after(list(finished.values()))

    pool = ThreadPoolExecutor(jobs)
    futures = [pool.submit(one, task) for task in tasks]
    try:
        for future in futures:
            future.result()
    finally:
        stop.set()  # after an interruption or an error: those under way end at their next step
        pool.shutdown(cancel_futures=True)
        manager.shutdown()
    return finished


def _apart(
    task: Task, data: Data, out: Path, bar: Progress, stop: threading.Event, shared: Any
) -> dict[str, Any]:
    """Runs a trial in a process of its own; shows how far it is.

    Args:
        shared: a dictionary of both processes.
    """
    name = f"{task.label}, seed {task.seed}"
    row = bar.add_task(name, total=1.0, note="")
    with _pool() as pool:
        future = pool.submit(_work, task, data, out, shared, torch.get_num_threads())
        while not future.done():
            time.sleep(0.2)
            if stop.is_set():
                shared["stop"] = True
            if "done" in shared:
                note = f"validation NDCG@10 {shared['score']:.4f}"
                bar.update(row, completed=shared["done"], note=note)
        record: dict[str, Any] = future.result()
    last = f"validation NDCG@10 {record['valid']['ndcg@10']:.4f}"
    bar.update(row, completed=1.0, note=last)
    if not bar.console.is_terminal:
        bar.console.print(f"{name}: {last}, {record['seconds']:.0f} s", highlight=False)
    return record


def _work(task: Task, data: Data, out: Path, shared: Any, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def show(label: str, done: float, score: float) -> None:
        if (parent is not None and not parent.is_alive()) or "stop" in shared:
            os._exit(1)  # nobody waits any more; the checkpoint is there for --resume
        shared["score"] = score
        shared["done"] = done

    return trials.run(task, read(*data), out, show)
