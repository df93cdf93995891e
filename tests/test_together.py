"""Settings of the whole process that several threads want for a while are as before once all are done."""

import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import huggingface_hub.constants as constants
import pytest

from encoders import hub
from encoders.hub import offline_where_no_hub_resolves
from encoders.loading import quiet
from encoders.together import Together


def settings() -> tuple[object, ...]:
    return list(warnings.filters), warnings.showwarning, logging.root.manager.disable, constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("make", [quiet, offline_where_no_hub_resolves])
def test_what_threads_share_is_kept_to_the_last_and_then_put_back(
    make: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_resolves", lambda _: False)
    before = settings()
    first_in, first_out = threading.Event(), threading.Event()
    found: list[tuple[object, ...]] = []

    def second() -> None:
        first_in.wait()
        with make():
            found.append(settings())
            first_out.set()
            left.wait()
            found.append(settings())

    left = threading.Event()
    other = threading.Thread(target=second)
    other.start()
    with make():
        first_in.set()
        first_out.wait()
    left.set()
    other.join()
    assert found[0] == found[1] != before
    assert settings() == before


def test_a_context_that_cannot_be_entered_is_made_anew() -> None:
    made: list[int] = []

    def make() -> AbstractContextManager[None]:
        made.append(1)
        if len(made) == 1:
            raise OSError("not now")
        return quiet()

    together = Together(make)
    with pytest.raises(OSError, match="not now"), together:
        pass
    with together:
        assert len(made) == 2
