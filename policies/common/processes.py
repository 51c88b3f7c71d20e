"""Processes that do not outlive the one that made them. Light to import: each of them does."""

import multiprocessing
import os
import threading
from multiprocessing import connection


def die_with_the_parent() -> None:
    """Ends this process when the one that made it is gone, killed for instance."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
