"""Simulated users, the world they live in, and the experiment."""

import importlib

from simulator.config import Experiment

__all__ = ["Experiment", "Result", "run"]


def __getattr__(name: str) -> object:
    # Late, so that `python -m simulator.run` does not import its own module twice.
    if name in ("run", "Result"):
        return getattr(importlib.import_module("simulator.run"), name)
    raise AttributeError(f"module 'simulator' has no attribute '{name}'")
