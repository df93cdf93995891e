"""Compiled functions in torch's threads."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir
from numba.core import types

from encoders import compiling, torch_threads
from encoders.compiling import kernel
from encoders.torch_threads import number, run, taken


@functools.cache
def doubled() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        while True:
            place = taken(block)
            if place >= number(block, 1):
                return
            _put(number(block, 2) + 8 * place, 2 * number(number(block, 2), place))

    return all_of


@compiling.instruction
def _put(_: Any, address: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        address, value = arguments
        builder.store(value, builder.inttoptr(address, ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch_threads.openmp.cache_clear()
    doubled.cache_clear()


def check() -> None:
    values = np.arange(9_999)
    run(doubled(), len(values), values)
    np.testing.assert_array_equal(values, 2 * np.arange(9_999))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_every_piece_once(threads: int) -> None:
    torch.set_num_threads(threads)
    check()


def test_where_no_openmp_is_found_one_thread_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_threads, "threadpool_info", list)
    torch_threads.openmp.cache_clear()
    check()


def test_a_numba_that_keeps_machine_code_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be made anew at the right time is not kept."""

    def elsewhere(*_: object) -> None:
        raise AttributeError

    monkeypatch.setattr(compiling, "renew_with", elsewhere)
    doubled.cache_clear()
    check()
