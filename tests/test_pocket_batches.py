"""Batches: shares of the pools, what is held out, captions and marks."""

from typing import Any

import numpy as np
import pytest
import torch

from pocket.batches import SHARES, Draw
from pocket.config import JointConfig
from pocket.material import Crops, Material, Picture


class Drawn:
    """In place of `Crops.draw`: remembers which pictures were asked for, and gives their grid of regions."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.zooms: list[tuple[float, float]] = []

    def __call__(self, crops: Crops, picture: Picture, random: np.random.Generator) -> tuple[Any, Any]:
        self.pictures.append(picture)
        self.zooms.append(crops.zoom)
        columns, rows = np.meshgrid(np.arange(crops.side), np.arange(crops.side))
        return np.full((crops.side, crops.side, 3), len(self.pictures) % 256, np.uint8), rows * 16 + columns


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    recorder = Drawn()
    monkeypatch.setattr(Crops, "draw", lambda self, picture, random: recorder(self, picture, random))
    return recorder


def test_pictures_that_are_held_out_are_never_drawn_and_all_others_are(material: Material, drawn: Drawn) -> None:
    captions = [text for picture in material.pictures for text in picture.texts if picture.pool == "flickr8k"]
    draw, random = Draw(material, torch.zeros(len(captions), 384)), np.random.default_rng(0)
    for _ in range(40):
        draw(random, JointConfig(batch=24, side=16), "cpu")
    for pool in SHARES:
        own = [id(picture) for picture in material.pictures if picture.pool == pool]
        held_out = own[::20] if pool in material.named_in else []
        assert len(held_out) == (2 if pool in material.named_in else 0)
        assert {id(picture) for picture in drawn.pictures if picture.pool == pool} == set(own) - set(held_out)
        share = sum(picture.pool == pool for picture in drawn.pictures) / len(drawn.pictures)
        assert share == pytest.approx(SHARES[pool], abs=0.06)


def test_a_drawn_batch_has_the_captions_of_its_pictures_and_marks_from_the_middle_of_each_location(
    material: Material, drawn: Drawn
) -> None:
    captions = [text for picture in material.pictures for text in picture.texts if picture.pool == "flickr8k"]
    numbered = torch.arange(len(captions), dtype=torch.float32)[:, None].expand(-1, 384)
    batch = Draw(material, numbered)(np.random.default_rng(1), JointConfig(batch=24, side=32), "cpu")
    assert (batch.pictures.shape, batch.others.shape) == ((24, 3, 32, 32), (1024, 384))
    np.testing.assert_allclose(batch.pictures[:, 0, 0, 0], (np.arange(24) + 1) / 127.5 - 1, atol=1e-6)
    assert batch.regions[5].tolist() == [[8 * 16 + 8, 8 * 16 + 24], [24 * 16 + 8, 24 * 16 + 24]]
    assert batch.unmarked.tolist() == [picture.pool != "voc_regions" for picture in drawn.pictures]
    spoken = [captions[int(vector[0])] for vector in batch.captions]
    assert len(spoken) > 2
    for text, number in zip(spoken, batch.captioned.tolist(), strict=True):
        assert text in drawn.pictures[number].texts
    whole = [number for number in range(24) if drawn.zooms[number] == (0.9, 1.15)]
    assert whole == batch.captioned.tolist()
    assert set(map(int, batch.others[:, 0])) == set(range(len(captions)))
