"""Pixels to names on one page."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.ahead import ahead, batches
from labeler.answers import Named
from labeler.config import LabelerConfig
from labeler.inputs import to_pixels
from labeler.labeled import LabeledImage
from labeler.methods import Outlines
from labeler.models import Models, load_models
from labeler.naming import name_picture
from labeler.outlining import Look, outline
from labeler.retriever import Retriever
from labeler.seen import Pooled, look_up
from segmenter import (
    Segments,
    cell_shares,
    embed_cells,
    neighbours,
    pool_by_segment,
    segment,
    segment_cells,
    unit_rows,
)
from shards.commands import config_of

Picture = NDArray[np.uint8]
AnyPicture = Picture | Image.Image | Path | str
"""A picture as people have it: uint8 [H, W, 3] RGB, Pillow's, or the path of a file."""


class Labeler:
    """Outlines and names every region of pictures."""

    def __init__(self, models: Models, retriever: Retriever, config: LabelerConfig) -> None:
        self.models = models
        self.retriever = retriever
        self.config = config

    def __repr__(self) -> str:
        names = ", ".join(index.name for index in self.retriever.indexes)
        return f"Labeler(preset {self.models.preset}, method {self.config.method.value}, words of {names})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Labeler holds networks and open files and cannot be copied or sent to another process; open one in each "
            "(a pool's initializer can), or give all pictures to label_many, which sees several at a time"
        )

    @classmethod
    def open(cls, index: Path | str | None = None, config: LabelerConfig | None = None, **options: Any) -> "Labeler":
        """Open an index, or a folder of them, and load the networks that go with it.

        Args:
            index: the folder; without it the config's, which is `shards` where nothing else is said.
            config: how pictures are labelled.
            options: instead of a config, fields of one, called as the command's flags are: `method="tag"`,
                `short_side=336`, `device="cuda"`.

        Raises:
            ShardError: there is no index, or one that cannot be used.
            EncoderError: a network cannot be loaded.
            TypeError: there is no such option, or options come beside a config.
            ValueError: an option has a value that cannot be; the message says which can. Or the config has an index of
                its own, and it is another one.
        """
        if config is not None and options:
            raise TypeError(f"give a config or options, not both; found a config and {', '.join(options)}")
        if config is not None and not isinstance(config, LabelerConfig):
            raise TypeError(f'found {config!r}, expected a LabelerConfig; options are given by name: method="tag"')
        config = config or config_of(LabelerConfig, options)
        if index is not None:
            config = _with_index(config, config_of(LabelerConfig, {"index": index}).index)
        retriever = Retriever.open(config.index)
        return cls(load_models(retriever, config), retriever, config)

    def label(self, picture: AnyPicture) -> LabeledImage:
        """Label one picture.

        Args:
            picture: uint8 [H, W, 3] RGB, a picture of Pillow's, or the path of a file.

        Raises:
            PictureError: the file or Pillow's picture cannot be read, or the array is of another shape or type.
            TypeError: it is nothing of all these.
        """
        look = self._look(_as_now(picture))
        (named,) = self._named([look])
        return self._outlined((look, named))

    def label_many(self, pictures: Iterable[AnyPicture]) -> Generator[LabeledImage]:
        """Label pictures in order; the same answers as one by one, in less time.

        Segments are searched for `batch_size` pictures at a time. Small networks see several pictures at a time, on a
        thread for each processor; they are then read up to `batch_size` + two for each thread ahead. An array, or a
        picture of Pillow's, is taken as it is when it comes: the next one may be the same with other pixels.

        Args:
            pictures: each as `label` takes it.

        Raises:
            PictureError: one of them cannot be read; it comes after those before it, and ends the rest. Where that may
                be, `label` them one by one.
            TypeError: one of them is nothing that `label` takes, or they are one picture and not several.
        """
        if isinstance(pictures, (str, os.PathLike, Image.Image)) or getattr(pictures, "ndim", 4) < 4:
            found = type(pictures).__name__
            raise TypeError(
                f"label_many takes several pictures, found one, a {found}; use label, or give a list of one"
            )
        return self._labeled_of(pictures)

    def _labeled_of(self, pictures: Iterable[AnyPicture]) -> Generator[LabeledImage]:
        threads, together = self.models.threads, self.config.batch_size
        beside = partial(ahead, workers=threads.workers, start=threads.start)
        with (
            closing(beside(self._look, map(_as_now, pictures), most=together + threads.workers)) as looks,
            closing(beside(self._outlined, self._named_of(looks), most=threads.workers)) as labeled,
        ):
            yield from labeled

    def name(self, picture: AnyPicture, segments: Segments) -> LabeledImage:
        """Name segments that are given, as this labeler names its own; each stays a segment of its own.

        Args:
            picture: as `label` takes it.
            segments: S segments of that picture.
        """
        picture = to_pixels(_as_now(picture))
        look = self._see(picture, segments)
        (named,) = self._named([replace(look, pooled=replace(look.pooled, pairs=np.zeros((0, 2), np.int64)))])
        return LabeledImage(segments, named.labels, picture)

    def embed(self, picture: AnyPicture, segments: Segments) -> NDArray[np.float32]:
        """Segments in the space shared with text: float32 [S, D], unit rows."""
        return self._see(to_pixels(picture), segments).pooled.vectors

    def _see(self, picture: Picture, segments: Segments) -> Look:
        if picture.shape[:2] != segments.size:
            raise ValueError(f"the picture is {picture.shape[:2]} pixels high and wide, its segments {segments.size}")
        with self.models.threads.limited():
            return see_segments(picture, segments, self.models)

    def _look(self, picture: AnyPicture) -> Look:
        pixels = to_pixels(picture)
        with self.models.threads.limited():
            return see(pixels, self.models, self.config)

    def _named(self, looks: Sequence[Look]) -> list[Named]:
        """Name what was seen of several pictures: captions and words, one search for all of them."""
        wording = self.config.wording
        with self.models.threads.limited():
            found = look_up([look.pooled for look in looks], self.retriever, wording)
            return [name_picture(each, self.retriever, wording) for each in found]

    def _named_of(self, looks: Iterator[Look]) -> Iterator[tuple[Look, Named]]:
        """Name what was seen, some pictures at a time."""
        for batch in batches(looks, self.config.batch_size):
            yield from zip(batch, self._named(batch), strict=True)

    def _outlined(self, seen: tuple[Look, Named]) -> LabeledImage:
        with self.models.threads.limited():
            return outline(*seen, self.retriever, self.config)


def _as_now(picture: AnyPicture) -> AnyPicture:
    """What its owner may change as soon as the next one is asked for, apart; a file is read in its turn."""
    if isinstance(picture, np.ndarray):
        return picture.copy()
    return to_pixels(picture) if isinstance(picture, Image.Image) else picture


def _with_index(config: LabelerConfig, index: Path) -> LabelerConfig:
    """A config with an index, unless it has another one already."""
    if config.index not in (index, LabelerConfig.index):
        raise ValueError(f"index: found {index}, and {config.index} in the config; give one of them")
    return replace(config, index=index)


def label_picture(picture: AnyPicture, index: Path | str | None = None, **options: Any) -> LabeledImage:
    """Label one picture with an index; for several, open a `Labeler` and keep it.

    Args:
        picture: uint8 [H, W, 3] RGB, a picture of Pillow's, or the path of a file.
        index: an index, or a folder of them; `shards` if none is given.
        options: as for `Labeler.open`.

    Raises:
        PictureError: the picture cannot be read.
        ShardError: there is no index, or one that cannot be used.
        EncoderError: a network cannot be loaded.
    """
    return Labeler.open(index, **options).label(picture)


def see(picture: Picture, models: Models, config: LabelerConfig) -> Look:
    """Cut a picture and see what is in it, outlines and names directly after another: they may share a network."""
    outlines = config.recipe.outlines
    cut = segment if outlines is Outlines.REGIONS else segment_cells  # S segments of the picture, or of its cells
    segments = cut(picture, models.patch_features, config.cutting)
    return see_segments(picture, segments, models, keep_cells=outlines is Outlines.WORDS)


def see_segments(picture: Picture, segments: Segments, models: Models, *, keep_cells: bool = False) -> Look:
    """What the networks say of the segments of a picture, or of its cells, and of the picture as a whole."""
    pairs, _ = neighbours(segments)
    whole = None if models.clip is None else models.clip.embed_whole(picture)
    cells = None if models.masked and not keep_cells else embed_cells(picture, models.clip_dense)
    pooled = Pooled(pool(picture, segments, cells, models), segments.areas, pairs - 1, whole)
    return Look(picture, segments, pooled, unit_rows(cells) if keep_cells and cells is not None else None)


def pool(
    picture: Picture, segments: Segments, cells: NDArray[np.float32] | None, models: Models
) -> NDArray[np.float32]:
    """Segments in the space shared with text: means of dense vectors, or each through its own mask.

    Args:
        picture: uint8 [H, W, 3] RGB.
        segments: S segments of it, or of its cells.
        cells: float32 [rows, cols, D], the dense vectors; None where masks do without.
        models: the networks.

    Returns:
        float32 [S, D], unit rows.
    """
    if cells is not None and not models.masked:
        return pool_by_segment(cells, segments)
    assert models.clip is not None, "masks are for a tower"
    rows, cols = models.clip.grid_of(picture)
    return models.clip.embed_segments(picture, cell_shares(segments, rows, cols))
