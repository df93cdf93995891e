"""A GPU whose memory is full, made up by towers that fail where they are given more than so many captions at once."""

import open_clip
import pytest
import torch
from numpy.testing import assert_allclose
from test_clip_text import CAPTIONS, FAMILIES, network_of

from encoders import clip_text
from encoders.causal_text import Asked, CausalText
from encoders.clip_text import ClipText
from encoders.device_memory import tried
from encoders.errors import EncoderError
from encoders.threads import PictureThreads

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 3.94 GiB."
SMALL = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


@pytest.fixture
def fitting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many captions the memory holds, to be set, and behind it how many were tried, batch by batch."""
    told = [10**6]
    run = CausalText.__call__

    def check(count: int) -> None:
        told.append(count)
        if count > told[0]:
            raise torch.OutOfMemoryError(FULL)

    def causal(self: CausalText, asked: Asked) -> torch.Tensor:
        check(len(asked.captions))
        return run(self, asked)

    normal = clip_text.forward_trimmed

    def trimmed(tower: object) -> clip_text.Forward:
        forward = normal(tower)
        return lambda tokens: (check(len(tokens)), forward(tokens))[1]

    monkeypatch.setattr(CausalText, "__call__", causal)
    monkeypatch.setattr(clip_text, "forward_trimmed", trimmed)
    return told


@pytest.mark.parametrize("understood", [True, False])
def test_fewer_captions_at_once(understood: bool, fitting: list[int], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    monkeypatch.setattr(clip_text, "understands", lambda tower: understood)
    family = FAMILIES["CLIP"]
    encoder = ClipText(network_of(family, {**SMALL, **family.text}), open_clip.tokenize)
    captions = [*CAPTIONS, *(f"{number} dogs" for number in range(40))]
    whole = encoder.encode(captions)
    fitting[0] = 6
    del fitting[1:]
    assert_allclose(encoder.encode(captions), whole, atol=5e-6)
    assert max(fitting[1:]) > 6, "nothing failed"
    for _ in range(9):
        encoder.encode(captions)
    del fitting[1:]
    encoder.encode(captions)
    assert max(fitting[1:]) <= 6, "it does not learn"
    fitting[0] = 0
    with pytest.raises(
        EncoderError, match="memory of cpu does not hold a single caption; use another GPU, or --device"
    ):
        encoder.encode(captions)


def test_other_errors_stay_what_they_are() -> None:
    def wrong() -> torch.Tensor:
        return torch.ones(2) @ torch.ones(3)

    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        tried(wrong)


def test_a_picture_that_is_too_large_is_said_to_be() -> None:
    threads = PictureThreads([torch.nn.Linear(2, 2)], "cuda:0")
    expected = "memory of cuda:0 does not hold this picture: CUDA out of memory.* GiB; give a smaller --short-side"
    with pytest.raises(EncoderError, match=expected), threads.limited():
        raise torch.OutOfMemoryError(FULL)
