"""Pixels to names on one page."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.ahead import ahead
from labeler.config import LabelerConfig
from labeler.inputs import to_pixels
from labeler.labeled import LabeledImage
from labeler.merging import regroup
from labeler.models import Models, load_models
from labeler.naming import name_picture
from labeler.retriever import Retriever
from labeler.seen import Pooled, look_up
from segmenter import Segments, cell_shares, embed_segments, neighbours, segment
from shards.commands import config_of

Picture = NDArray[np.uint8]
Look = tuple[Picture, Segments, Pooled]
"""A picture, its S segments, and what the networks say of them: float32 [S, D], unit rows, and what touches what."""


class Labeler:
    """Outlines and names every region of pictures."""

    def __init__(self, models: Models, retriever: Retriever, config: LabelerConfig) -> None:
        self.models = models
        self.retriever = retriever
        self.config = config

    @classmethod
    def open(cls, index: Path | str = "shards", config: LabelerConfig | None = None, **options: Any) -> "Labeler":
        """Open an index, or a folder of them, and load the networks that go with it.

        Args:
            index: the folder.
            config: how pictures are labelled.
            options: instead of a config, fields of one, called as the command's flags are: `method="tag"`,
                `short_side=336`, `device="cuda"`.

        Raises:
            ShardError: there is no index, or one that cannot be used.
            EncoderError: a network cannot be loaded.
            TypeError: there is no such option, or options come beside a config.
            ValueError: an option has a value that cannot be; the message says which can.
        """
        if config is not None and options:
            raise TypeError(f"give a config or options, not both; found a config and {', '.join(options)}")
        config = config or config_of(LabelerConfig, {"index": index, **options})
        retriever = Retriever.open(Path(index))
        return cls(load_models(retriever, config), retriever, config)

    def label(self, picture: Picture | Image.Image | Path | str) -> LabeledImage:
        """Label one picture.

        Args:
            picture: uint8 [H, W, 3] RGB, a picture of Pillow's, or the path of a file.

        Raises:
            PictureError: the file is no picture that can be read, or the array is of another shape or type.
        """
        return self._named([self._look(picture)])[0]

    def label_many(self, pictures: Iterable[Picture | Image.Image | Path | str]) -> Generator[LabeledImage]:
        """Label pictures in order; the same answers as one by one, in less time.

        Segments are searched for `batch_size` pictures at a time. Small networks see several pictures at a time, on a
        thread for each processor; they are then read up to `batch_size` + one for each thread ahead.

        Args:
            pictures: each as `label` takes it.

        Raises:
            PictureError: one of them cannot be read. Where that may be, `label` them one by one.
        """
        threads, together = self.models.threads, self.config.batch_size
        most = together + threads.workers
        seen = ahead(self._look, pictures, workers=threads.workers, most=most, start=threads.start)
        with closing(seen):
            while batch := list(islice(seen, together)):
                yield from self._named(batch)

    def name(self, picture: Picture, segments: Segments) -> LabeledImage:
        """Name segments that are given, as this labeler names its own; each stays a segment of its own.

        Args:
            picture: uint8 [H, W, 3] RGB.
            segments: S segments of that picture.
        """
        with self.models.threads.limited():
            apart = replace(see(picture, segments, self.models), pairs=np.zeros((0, 2), np.int64))
        return self._named([(picture, segments, apart)])[0]

    def embed(self, picture: Picture, segments: Segments) -> NDArray[np.float32]:
        """Segments in the space shared with text: float32 [S, D], unit rows."""
        with self.models.threads.limited():
            return embed(picture, segments, self.models)

    def _look(self, picture: Picture | Image.Image | Path | str) -> Look:
        """Cut a picture and see what is in it, outlines and names directly after another: they may share a network."""
        pixels = to_pixels(picture)
        with self.models.threads.limited():
            segments = segment(pixels, self.models.patch_features, self.config.cutting)  # S segments
            return pixels, segments, see(pixels, segments, self.models)

    def _named(self, looks: Sequence[Look]) -> list[LabeledImage]:
        """Name what was seen of several pictures."""
        pictures, cut, seen = zip(*looks, strict=True)
        with self.models.threads.limited():
            named = name_segments(cut, seen, self.retriever, self.config)
        return [replace(labeled, picture=picture) for labeled, picture in zip(named, pictures, strict=True)]


def label_picture(
    picture: Picture | Image.Image | Path | str, index: Path | str = "shards", **options: Any
) -> LabeledImage:
    """Label one picture with an index; for several, open a `Labeler` and keep it.

    Args:
        picture: uint8 [H, W, 3] RGB, a picture of Pillow's, or the path of a file.
        index: an index, or a folder of them.
        options: as for `Labeler.open`.

    Raises:
        PictureError: the picture cannot be read.
        ShardError: there is no index, or one that cannot be used.
        EncoderError: a network cannot be loaded.
    """
    return Labeler.open(index, **options).label(picture)


def see(picture: Picture, segments: Segments, models: Models) -> Pooled:
    """What the networks say of the segments of a picture, and of the picture as a whole."""
    pairs, _ = neighbours(segments)
    whole = None if models.clip is None else models.clip.embed_whole(picture)
    return Pooled(embed(picture, segments, models), segments.areas, pairs - 1, whole)


def embed(picture: Picture, segments: Segments, models: Models) -> NDArray[np.float32]:
    """Segments in the space shared with text: means of dense vectors, or each through its own mask.

    Returns:
        float32 [S, D], unit rows.
    """
    if not models.masked:
        return embed_segments(picture, segments, models.clip_dense)
    assert models.clip is not None, "masks are for a tower"
    rows, cols = models.clip.grid_of(picture)
    return models.clip.embed_segments(picture, cell_shares(segments, rows, cols))


def name_segments(
    cut: Sequence[Segments], seen: Sequence[Pooled], retriever: Retriever, config: LabelerConfig
) -> list[LabeledImage]:
    """Segments and where they lie among the captions -> a name and its evidence each; what is one thing becomes one.

    Args:
        cut: S_i segments of each picture.
        seen: their vectors.
        retriever: where words come from.
        config: how they are named.
    """
    wording = config.wording
    found = look_up(seen, retriever, wording)  # captions and words, one search for all pictures
    named = [name_picture(each, retriever, wording) for each in found]
    return [regroup(segments, each.labels, each.groups) for segments, each in zip(cut, named, strict=True)]
