"""The tower: its blocks, its reading of sentences, and what it says of regions that were held out."""

import numpy as np
import pytest
import torch
from convolutional import settled
from pocket_material import HINT_SHAPES, diced_hints, diced_names
from torch import Tensor

from pocket import blockwise, joint
from pocket.material import UNLABELLED, Material, Picture
from pocket.student import HINTS, blocks_of, match_scales, new_trunk
from pocket.tower import Tower, half_whitening


def test_the_blocks_in_a_row_are_the_trunk() -> None:
    trunk = settled(new_trunk())
    pictures = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    blocks = blocks_of(trunk)
    assert len(blocks) == len(HINTS) == 17
    with torch.inference_mode():
        hidden, shapes = pictures, []
        for block in blocks:
            hidden = block(hidden)
            shapes.append((hidden.shape[1], 64 // hidden.shape[2]))
        torch.testing.assert_close(trunk.bn2(trunk.conv_head(hidden)), trunk.forward_features(pictures), rtol=0, atol=0)
    assert tuple(shapes) == HINT_SHAPES


def test_matched_scales_are_those_of_what_each_block_has_to_add() -> None:
    torch.manual_seed(0)
    trunk = new_trunk().train()
    blocks, pictures = blocks_of(trunk), torch.randn(8, 3, 32, 32)
    hints = [3 * hint + torch.randn(hint.shape[1])[:, None, None] for hint in diced_hints(pictures)]
    match_scales(blocks, hints)
    norms = [trunk.blocks[0][0].bn2] + [block.bn3 for block in blocks[1:]]
    for number, (block, norm) in enumerate(zip(blocks, norms, strict=True)):
        before = hints[number - 1] if number else pictures
        added = hints[number] - before if getattr(block, "has_skip", False) else hints[number]
        for channel in range(0, added.shape[1], 7):
            values = added[:, channel].flatten().double().numpy()
            np.testing.assert_allclose(norm.weight[channel].item(), values.std(ddof=1), rtol=1e-4)
            np.testing.assert_allclose(norm.bias[channel].item(), values.mean(), atol=1e-5)
        with torch.no_grad():
            output = block(before)
        torch.testing.assert_close(output.mean((0, 2, 3)), hints[number].mean((0, 2, 3)), atol=1e-3, rtol=1e-3)
        if not getattr(block, "has_skip", False):
            deviation = hints[number].std((0, 2, 3), correction=0)
            torch.testing.assert_close(output.std((0, 2, 3), correction=0), deviation, atol=0.2, rtol=0.1)


def test_half_whitening_decorrelates_and_leaves_the_square_roots_of_the_deviations() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(900, 384)) @ random.normal(size=(384, 384)) * np.geomspace(1, 0.01, 384) + 3
    map_of = half_whitening(torch.from_numpy(vectors)).numpy()
    assert map_of.shape == (256, 384)
    moved = vectors @ map_of.T
    covariance = np.cov(moved.T, bias=True)
    variances = np.sort(np.linalg.eigvalsh(np.cov(vectors.T, bias=True)))[::-1][:256]
    deviations = np.diag(covariance) ** 0.5
    np.testing.assert_allclose(deviations, variances**0.25, rtol=1e-6)  # the square root of the square root
    correlations = covariance / deviations / deviations[:, None]
    np.testing.assert_allclose(correlations, np.eye(256), atol=1e-7)


def test_the_vector_of_a_region_is_the_mean_over_the_locations_that_it_covers(evaluated_tower: Tower) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    regions = np.full((96, 64), UNLABELLED, np.uint8)
    regions[:40, :24], regions[50:, 16:] = 9, 4
    with torch.inference_mode():
        vectors, truth = joint.region_vectors(evaluated_tower, Picture(pixels, regions, (), ""), short_side=64)
        nothing = joint.region_vectors(evaluated_tower, Picture(pixels, regions * 0 + UNLABELLED, (), ""), 64)
        _, features = evaluated_tower(blockwise.to_network(pixels[None]))
    assert truth.tolist() == [4, 9]
    assert [len(part) for part in nothing] == [0, 0]
    project = evaluated_tower.project.weight.detach().numpy()
    for vector, name in zip(vectors, truth, strict=True):
        summed = np.zeros(256)
        for y, x in np.ndindex(96, 64):  # a location has 16 by 16 pixels
            if regions[y, x] == name:
                summed += project @ features[0, :, y // 16, x // 16].numpy()
        np.testing.assert_allclose(vector, summed / np.linalg.norm(summed), atol=1e-4)


def test_the_report_on_held_out_pictures_counts_their_regions(
    material: Material, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    names, shown = diced_names(len(material.names)), []
    with torch.inference_mode():
        words = evaluated_tower.words(names.regions.mean(0))

    def right_but_for_cars(tower: Tower, picture: Picture, short_side: int) -> tuple[Tensor, Tensor]:
        assert not tower.training
        shown.append(picture)
        assert picture.regions is not None
        truth = torch.tensor([int(name) for name in np.unique(picture.regions) if name != UNLABELLED])
        car = material.names.index("car")
        return torch.where((truth == car)[:, None], words[material.names.index("person")], words[truth]), truth

    monkeypatch.setattr(joint, "region_vectors", right_but_for_cars)
    line = joint.held_out(evaluated_tower, material, names)
    evaluated_tower.eval()
    assert [id(picture) for picture in shown] == [
        id(picture)
        for pool in material.named_in
        for picture in [picture for picture in material.pictures if picture.pool == pool][::20]
    ]
    # pictures 0 and 20: aeroplane, then tvmonitor and aeroplane; building, then grass and building; sky and tree, car
    assert line == "voc_regions 1.000 of 3, msrc_regions 1.000 of 3, camvid_train 0.750 of 4"
