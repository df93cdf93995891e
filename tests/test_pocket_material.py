"""Pools as pictures in memory, and crops whose masks move with their pixels."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pocket_material import CLASSES, write_pools

from pocket.batches import SHARES
from pocket.material import UNLABELLED, Crops, Picture, read_material


def test_pools_are_read_with_one_number_for_one_name(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=3, others=4)
    material = read_material(tmp_path)
    voc = (
        "airplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorcycle,person,potted plant,"
        "sheep,sofa,train,television"
    )
    assert material.names == (
        *voc.split(","), "building", "grass", "tree", "face", "flower", "sky", "cyclist",
    )  # fmt: skip
    spoken = {pool: {material.names[number] for number in numbers} for pool, numbers in material.named_in.items()}
    assert spoken == {
        "voc_regions": set(voc.split(",")),
        "msrc_regions": {"building", "grass", "tree", "cow", "face", "car", "flower", "person"},
        "camvid_train": {"sky", "tree", "car", "person", "cyclist"},
    }
    marked = ["voc_regions"] * 3 + ["msrc_regions"] * 3 + ["camvid_train"] * 3
    assert [picture.pool for picture in material.pictures] == marked + ["flickr8k"] * 4 + ["imagenet1000"] * 4


def test_masks_are_read_as_numbers_of_names_and_what_has_no_name_as_unlabelled(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=3, others=4)
    material = read_material(tmp_path)
    for pool, classes in (("voc_regions", "voc"), ("msrc_regions", "msrc"), ("camvid_train", "camvid")):
        called = [
            {"aeroplane": "airplane", "pedestrian": "person", "bicyclist": "cyclist"}.get(name, name)
            for name in CLASSES[classes].split(" ")
        ]
        own = [picture for picture in material.pictures if picture.pool == pool]
        for number, picture in enumerate(own):
            assert (picture.pixels.shape, picture.pixels.dtype, picture.texts) == ((40, 56, 3), np.uint8, ())
            regions = picture.regions
            assert regions is not None
            assert (regions.shape, regions.dtype) == ((40, 56), np.uint8)
            left = UNLABELLED if called[number] in ("background", "void") else material.names.index(called[number])
            assert (regions[0] == UNLABELLED).all()
            assert (regions[1:, :28] == left).all()
            assert (regions[1:, 28:] == material.names.index(called[1])).all()


def test_texts_are_all_captions_of_a_picture_or_all_names_of_its_class(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=1, others=2)
    texts = {}
    for picture in read_material(tmp_path).pictures:
        texts.setdefault(picture.pool, []).append(picture.texts)
        assert (picture.regions is None) == (picture.pool in ("flickr8k", "imagenet1000"))
        assert picture.pixels.std((0, 1)).max() < 3  # one colour, as it was written: no other picture's file
    assert texts["flickr8k"] == [("0 says 0", "0 says 1"), ("1 says 0", "1 says 1")]
    assert texts["imagenet1000"] == [("tench", "Tinca tinca"), ("goldfish", "Carassius auratus")]


@pytest.mark.parametrize("file", [f"{pool}.tar" for pool in SHARES] + [f"{classes}_classes.txt" for classes in CLASSES])
def test_a_missing_pool_is_named(tmp_path: Path, file: str) -> None:
    write_pools(tmp_path, marked=1, others=1)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        read_material(tmp_path)


def checkered(rows: int, cols: int, cell: int) -> Picture:
    """Grey cells, each of its own region and the brighter, the higher the region's number."""
    regions = np.kron(np.arange(rows * cols).reshape(rows, cols), np.ones((cell, cell))).astype(np.uint8)
    grey = 60 + 120 * regions.astype(float) / (rows * cols - 1)
    return Picture(np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8), regions, (), "voc_regions")


def test_the_mask_of_a_crop_moves_with_its_pixels() -> None:
    picture, random, mirrored = checkered(3, 4, 32), np.random.default_rng(0), []
    for _ in range(40):
        pixels, regions = Crops(side=64).draw(picture, random)
        assert (pixels.shape, pixels.dtype, regions.shape, regions.dtype) == ((64, 64, 3), np.uint8, (64, 64), np.uint8)
        greys = []
        for region in sorted(set(regions.ravel().tolist()) - {UNLABELLED}):
            inner = cv2.erode((regions == region).astype(np.uint8), np.ones((7, 7)), borderValue=0).astype(bool)
            if inner.any():
                assert np.ptp(pixels[inner].astype(int), axis=0).max() <= 1  # the cell's one grey, whatever the light
                greys.append(pixels[inner].mean(0))
        assert (np.diff(greys, axis=0) > 2).all()  # and brighter cells for higher numbers
        assert (regions == UNLABELLED).mean() < 0.05
        columns = regions[32, 2:-2].astype(int) % 4
        if columns[0] != columns[-1]:
            mirrored.append(bool(columns[0] > columns[-1]))
    assert mirrored.count(True) > 8
    assert mirrored.count(False) > 8


def test_crops_enlarge_as_much_as_they_are_told_to() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 150, axis=0).repeat(3, axis=2)
    picture = Picture(ramp, ramp[..., 0], (), "voc_regions")
    for zoom in (1.0, 2.0):
        widths = [
            np.ptp(Crops(side=80, zoom=(zoom, zoom)).draw(picture, np.random.default_rng(seed))[1][10].astype(int))
            for seed in range(30)
        ]
        squeezed = [80 / zoom / math.exp(0.2), 80 / zoom / math.exp(-0.2)]
        assert squeezed[0] - 2 < min(widths) < max(widths) < squeezed[1] + 2
        assert max(widths) - min(widths) > 0.2 * 80 / zoom


def test_a_small_picture_fills_a_large_crop() -> None:
    picture = replace(checkered(2, 2, 8), regions=None)
    pixels, regions = Crops(side=64).draw(picture, np.random.default_rng(0))
    assert pixels.shape == (64, 64, 3)
    assert (regions == UNLABELLED).all()  # nobody marked it


def test_the_same_seed_draws_the_same_crop_and_another_seed_another() -> None:
    picture = checkered(3, 4, 32)
    one, again, other = (Crops(side=48).draw(picture, np.random.default_rng(seed)) for seed in (3, 3, 4))
    for drawn, twin in zip(one, again, strict=True):
        np.testing.assert_array_equal(drawn, twin)
    assert (one[0] != other[0]).any()
