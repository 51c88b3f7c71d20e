"""Compiled loops: the same function, also where no folder can be written to."""

from typing import Any

import pytest

from policies.common import compiled as module


def twice(x: float) -> float:
    return 2 * x


def test_without_a_folder_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def njit(cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda loop: loop

    monkeypatch.setattr(module, "njit", njit)
    assert module.compiled(twice)(2.0) == 4.0
    assert asked == [True, False]
