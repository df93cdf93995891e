"""Weights as they are written: half precision, never half a file, and loaded as what was trained."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Crash
from convolutional import SHIPPED
from pocket_material import new_tower, unit
from safetensors.torch import load_file
from torch import Tensor, nn

from encoders import weights
from encoders.clip_dense import clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.weights import ClipSource, load_clip
from pocket import blockwise, export
from pocket.student import new_trunk
from pocket.text_tower import new_clip
from pocket.tower import Tower


class Layer(nn.Module):
    """A weight, and a count that half precision could not hold."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.register_buffer("seen", torch.tensor(70_000))


def test_weights_are_written_in_half_precision(tmp_path: Path) -> None:
    size = export.write_weights(Layer([0.1, -65504, 3]), tmp_path)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_size) == ("open_clip_model.safetensors", size)
    stored = load_file(file)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {"weight": torch.float16, "seen": torch.int64}
    assert stored["weight"].tolist() == [pytest.approx(0.1, rel=1e-3), -65504, 3]
    assert stored["seen"].item() == 70_000


@pytest.mark.parametrize("number", [7e4, -7e4, math.nan, math.inf])
def test_weights_that_half_precision_cannot_hold_are_refused_and_the_old_ones_stay(
    tmp_path: Path, number: float
) -> None:
    export.write_weights(Layer([1.0]), tmp_path)
    before = (tmp_path / "open_clip_model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"weight holds .*, which float16 cannot"):
        export.write_weights(Layer([1.0, number]), tmp_path)
    assert (tmp_path / "open_clip_model.safetensors").read_bytes() == before


def test_a_file_that_is_too_large_to_ship_never_has_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = export.write_weights(Layer([1.0] * 100), tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    monkeypatch.setattr(export, "LIMIT", size)
    assert export.write_weights(Layer([1.0] * 100), tmp_path) == size  # the limit itself is allowed
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"bytes; at most {size} may ship"):
        export.write_weights(Layer([1.0] * 200), tmp_path)
    assert not (tmp_path / "open_clip_model.safetensors").exists()


def test_a_write_that_is_interrupted_leaves_no_file_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise Crash

    monkeypatch.setattr(export, "save_file", half)
    with pytest.raises(Crash):
        export.write_weights(Layer([1.0]), tmp_path)
    assert not (tmp_path / "open_clip_model.safetensors").exists()


def test_what_is_written_is_loaded_as_the_tower_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    as_trained = {**SHIPPED, "preprocess_cfg": {**SHIPPED["preprocess_cfg"], "mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(as_trained))
    network, _ = new_clip(tmp_path / "open_clip_config.json")
    export.install_image(network, evaluated_tower)
    export.write_weights(network, tmp_path)
    monkeypatch.setattr(weights, "POCKET_FOLDER", tmp_path)
    loaded = load_clip(ClipSource.parse("pocket")).network

    rounded = new_tower()
    rounded.load_state_dict({name: tensor.half().to(tensor) for name, tensor in evaluated_tower.state_dict().items()})
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    pictures = blockwise.to_network(picture[None])
    with torch.inference_mode():
        exact, dense = (
            tower.project(tower(pictures)[1][0].permute(1, 2, 0)).numpy() for tower in (evaluated_tower, rounded)
        )
        coarse = new_trunk(stride=32).eval()  # a CLIP's own grid for whole pictures
        coarse.load_state_dict(rounded.trunk.state_dict())
        whole = rounded.project(coarse.forward_features(pictures).mean((2, 3)))[0].numpy()
        np.testing.assert_allclose(loaded.visual(pictures)[0].numpy(), whole, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(loaded.logit_scale.exp(), evaluated_tower.scale(), rtol=2e-3, atol=0)
    labeler = ClipFeatureMap(loaded.visual, clip_pixels(loaded.visual), short_side=64)
    seen = labeler.embed(picture)
    np.testing.assert_allclose(seen, dense, rtol=1e-3, atol=1e-4)
    assert (unit(seen) * unit(exact)).sum(2).min() > 0.999  # all that half precision costs, after fifty layers
    assert (unit(seen.mean((0, 1))) * unit(exact.mean((0, 1)))).sum() > 0.9999
    assert (unit(seen)[0, 0] * unit(exact)).sum(2).min() < 0.99  # locations differ: nothing above is true of all


def test_the_shipped_configuration_shows_pixels_as_they_were_shown_in_training() -> None:
    mean, std = (torch.tensor(SHIPPED["preprocess_cfg"][name]) for name in ("mean", "std"))
    pixels = np.arange(0, 255, 5, dtype=np.uint8).reshape(1, 1, 17, 3)
    as_shipped = (torch.from_numpy(pixels[0]) / 255 - mean) / std
    torch.testing.assert_close(as_shipped.permute(2, 0, 1)[None], blockwise.to_network(pixels))
