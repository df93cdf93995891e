"""Losses against loops over locations, and what they leave out."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pocket_material import DicedGuides, diced_names, diced_sentences, new_tower, surprise, unit

from pocket.batches import Batch
from pocket.checkpoints import Place
from pocket.losses import MAY_BOTH_BE_TRUE, Names, losses_of
from pocket.material import UNLABELLED, Material, Picture
from pocket.optimiser import Optimiser
from pocket.region_loss import name_weights, region_loss
from pocket.tower import Tower


def batch_of(regions: NDArray[np.int64], seed: int = 0, side: int = 32) -> Batch:
    """Noise, with these marks [B, 2, 2]; every second picture has a caption."""
    dice, count = torch.Generator().manual_seed(seed), len(regions)
    return Batch(
        pictures=torch.rand(count, 3, side, side, generator=dice) * 2 - 1,
        regions=torch.from_numpy(regions),
        unmarked=torch.from_numpy((regions == UNLABELLED).all((1, 2))),
        captions=torch.randn(count // 2, 384, generator=dice),
        captioned=torch.arange(0, count // 2 * 2, 2),
        others=torch.randn(6, 384, generator=dice),
        template=2,
    )


def test_the_losses_are_what_loops_over_locations_compute(evaluated_tower: Tower) -> None:
    tower, names = evaluated_tower, diced_names(30)
    names.exclusive[4, 7] = names.exclusive[7, 4] = False
    marks = np.full((4, 2, 2), UNLABELLED)
    marks[0], marks[1, 0], marks[1, 1, 1] = [[4, 7], [4, 25]], [7, 0], 29
    batch = batch_of(marks)
    guides = DicedGuides()
    with torch.no_grad():
        losses = losses_of(tower, batch, guides, names)
        outputs, features = tower(batch.pictures)
        imitated = tower.imitate(features).double().numpy()
    hints, teacher_features, classes, imagenet = (
        [hint.double().numpy() for hint in part] if isinstance(part, list) else part.double().numpy()
        for part in guides(batch.pictures)
    )
    project, read = (layer.weight.detach().double().numpy() for layer in (tower.project, tower.read))
    scale = math.exp(min(4.0, tower.log_scale.item()))
    words, thousand = (unit(part[2].double().numpy() @ read.T) for part in (names.regions, names.imagenet))
    maps = features.double().numpy()

    named, soft, seen = [], [], []
    for b, y, x in np.ndindex(4, 2, 2):
        here = scale * unit(project @ maps[b, :, y, x])
        truth = marks[b, y, x]
        if truth != UNLABELLED:
            rivals = [n for n in range(30) if {n, truth} != {4, 7}]
            named.append(surprise(words[rivals] @ here, np.array([n == truth for n in rivals])))
        soft.append(surprise(words[:20] @ here, classes[b, 1:, y, x]) if (marks[b] == UNLABELLED).all() else 0)
        seen.append(surprise(thousand @ here, imagenet[b, :, y, x]))
    texts = unit(torch.cat([batch.captions, batch.others]).double().numpy() @ read.T)
    captions = [
        surprise(scale * texts @ unit(project @ maps[picture].mean((1, 2))), np.arange(8) == number)
        for number, picture in enumerate([0, 2])
    ]
    followed = [4, 7, 10, 13, 16]
    wrong = [((outputs[n].double().numpy() - hints[n]) ** 2).mean() / hints[n].var(ddof=1) for n in followed]
    expected = {
        "hints": 0.5 * np.mean(wrong),
        "features": 0.5 * ((imitated - teacher_features) ** 2).mean() / teacher_features.var(ddof=1),
        "named": np.mean(named),
        "soft": 0.5 * np.mean(soft),
        "imagenet": 0.25 * np.mean(seen),
        "captions": 0.25 * np.mean(captions),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name].item(), value, rtol=1e-4, err_msg=name)


def test_names_that_may_both_be_true_do_not_push_against_each_other(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    monkeypatch.setattr("pocket.losses.embed_sentences", diced_sentences)
    names = Names.read(material, place)
    assert (names.regions.shape, names.imagenet.shape) == ((4, len(material.names), 384), (4, 4, 384))
    expected = diced_sentences(["a photo of the sky.", "a photo of the balloon."], Path()).astype(np.float32)
    np.testing.assert_array_equal(names.regions[2, material.names.index("sky")], expected[0])
    np.testing.assert_array_equal(names.imagenet[2, 2], expected[1])

    def named(truth: str, changed: str) -> tuple[float, float]:
        """The loss where everything is marked as one thing, before and after another name means something else."""
        batch = batch_of(np.full((2, 2, 2), material.names.index(truth)))
        other = names.regions.clone()
        other[:, material.names.index(changed)] *= -1
        with torch.inference_mode():
            before, after = (
                losses_of(evaluated_tower, batch, DicedGuides(), some)["named"].item()
                for some in (names, replace(names, regions=other))
            )
        return before, after

    for pair in MAY_BOTH_BE_TRUE:
        for truth, changed in (pair, pair[::-1]):
            before, after = named(truth, changed)
            assert before == after
    for truth, changed in (("person", "dog"), ("face", "cyclist"), ("tree", "flower"), ("person", "person")):
        before, after = named(truth, changed)
        assert before != after


def test_pictures_without_marks_add_nothing_to_the_loss_of_names(evaluated_tower: Tower) -> None:
    marks = np.array([[[3, 4], [UNLABELLED, 5]], [[6, 6], [6, 6]]])
    alone = batch_of(marks)
    joined = batch_of(np.concatenate([marks, np.full((2, 2, 2), UNLABELLED)]), seed=1)
    joined = replace(joined, pictures=torch.cat([alone.pictures, joined.pictures[2:]]))
    with torch.inference_mode():
        few, more = (losses_of(evaluated_tower, batch, DicedGuides(), diced_names(30)) for batch in (alone, joined))
    torch.testing.assert_close(few["named"], more["named"])
    assert few["soft"] == 0  # and marked ones nothing to the loss that stands in for marks
    assert more["soft"] > 0


def test_a_batch_without_any_mark_or_caption_teaches_something_finite() -> None:
    tower = new_tower().train()
    batch = batch_of(np.full((2, 2, 2), UNLABELLED))
    batch = replace(batch, captions=batch.captions[:0], captioned=batch.captioned[:0])
    losses = losses_of(tower, batch, DicedGuides(), diced_names(30))
    assert losses["named"].item() == 0
    assert "captions" not in losses
    torch.stack(list(losses.values())).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in tower.parameters())


def test_every_loss_falls_on_a_batch_that_is_seen_again_and_again() -> None:
    tower, names = new_tower().train(), diced_names(30)
    marks = np.random.default_rng(0).integers(0, 30, (4, 2, 2))
    marks[3] = UNLABELLED
    batch, optimiser, history = batch_of(marks), Optimiser([tower], matrices=0.03, rest=3e-3), []
    for step in range(12):
        losses = losses_of(tower, batch, DicedGuides(), names)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimiser.step(torch.stack(list(losses.values())).sum(), 0.1 + step / 15)
    assert all(math.isfinite(loss) for losses in history for loss in losses.values())
    learnt = set(history[0]) - {"hints"}  # those are noise here, and twelve steps are too few for it
    assert {name: history[-1][name] < history[0][name] for name in learnt} == dict.fromkeys(learnt, True)
    assert sum(history[-1].values()) < 0.8 * sum(history[0].values())


def test_the_loss_of_regions_is_that_of_their_mean_vectors_weighed_by_name_and_size() -> None:
    dice = torch.Generator().manual_seed(1)
    projected, words = torch.randn(3, 4, 4, 8, generator=dice), torch.randn(6, 8, generator=dice)
    regions = torch.full((3, 4, 4), UNLABELLED)
    regions[0, :2], regions[0, 2:], regions[1, 0, 0], regions[1, 2:, 1:] = 2, 5, 2, 0
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 1.0, 0.7])
    found = region_loss(projected, regions, lambda vectors, truth: vectors @ words.T, weights)

    total = by = 0.0
    for picture in range(3):
        for name in range(6):
            places = (regions[picture] == name).nonzero().tolist()
            if places:
                mean = unit(sum(projected[picture, y, x].double().numpy() for y, x in places))
                weight = weights[name].item() * min(1, len(places) / 4)
                by += weight
                total += weight * surprise(words.double().numpy() @ mean, np.arange(6) == name)
    assert found.item() == pytest.approx(total / by, rel=1e-5)

    nothing = region_loss(projected, torch.full_like(regions, UNLABELLED), lambda vectors, truth: vectors, weights)
    assert nothing.item() == 0


def test_names_that_few_pictures_hold_weigh_more() -> None:
    def picture(*names: int) -> Picture:
        return Picture(np.zeros((1, 1, 3), np.uint8), np.array([[*names, UNLABELLED]], np.uint8), (), "")

    pictures = [picture(0)] * 25 + [picture(0, 1)] * 15 + [picture(2)] * 3
    found = name_weights(Material(tuple(pictures), ("cat", "dog", "owl", "never"), {})).numpy()
    held = np.array([40, 15, 10, 10])  # fewer than ten weigh like ten
    np.testing.assert_allclose(found / found[0], (held / 40) ** -0.5, rtol=1e-6)
    assert (found * held).sum() / held.sum() == pytest.approx(1)
