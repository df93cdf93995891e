"""Which thread work is done in, and what comes back from it."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from encoders import device_thread
from encoders.clip_text import ClipText
from encoders.device_thread import in_passing_thread, in_thread_of
from encoders.weights import ClipSource


def here() -> threading.Thread:
    return threading.current_thread()


def fail() -> None:
    raise ValueError("as it was raised")


def test_a_device_has_one_thread_whoever_calls() -> None:
    with ThreadPoolExecutor(4) as callers:
        found = set(callers.map(lambda _: in_thread_of("cpu", here), range(20)))
    assert found == {in_thread_of("cpu", here)}
    assert threading.current_thread() not in found
    assert in_thread_of("cuda:7", here) not in found


def test_callers_that_are_first_together_share_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*given: object, **named: object) -> ThreadPoolExecutor:
        time.sleep(0.05)  # so that all callers come before the first thread is there
        return ThreadPoolExecutor(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(device_thread, "ThreadPoolExecutor", slowly)
    with ThreadPoolExecutor(4) as callers:
        found = set(callers.map(lambda _: in_thread_of("cuda:8", here), range(4)))
    assert len(found) == 1


def test_a_passing_thread_ends_with_its_work() -> None:
    thread = in_passing_thread(here)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_errors_are_raised_where_they_are_waited_for() -> None:
    for run in (in_passing_thread, lambda work: in_thread_of("cpu", work)):
        with pytest.raises(ValueError, match="as it was raised"):
            run(fail)
    assert in_thread_of("cpu", lambda: 3) == 3, "the thread goes on after an error"


def answer(pipe: object) -> None:
    pipe.send(in_thread_of("cpu", lambda: 4))  # type: ignore[attr-defined]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_gets_a_thread_of_its_own() -> None:
    in_thread_of("cpu", here)
    forked = multiprocessing.get_context("fork")
    ours, theirs = forked.Pipe()
    child = forked.Process(target=answer, args=(theirs,))
    child.start()
    try:
        assert ours.poll(20), "it waits for a thread that only its parent has"
        assert ours.recv() == 4
    finally:
        child.kill()
        child.join()


def test_a_caller_calls_no_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that encodes and loads is done elsewhere, whichever thread asks; what reports is the caller's."""
    encoder = ClipText.from_pretrained(ClipSource.parse("pocket"), "cpu")
    reporters, towers, normal = [], [], encoder._lengths
    monkeypatch.setattr(encoder, "_lengths", lambda tokens: (towers.append(here()), normal(tokens))[1])
    with ThreadPoolExecutor(2) as callers:
        list(callers.map(lambda text: encoder.encode([text], lambda _: reporters.append(here())), ["a dog", "a cat"]))
    assert set(towers) == {in_thread_of("cpu", here)}
    assert in_thread_of("cpu", here) not in reporters
    assert len(reporters) == 2
