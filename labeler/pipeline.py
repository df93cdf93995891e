"""Pixels to names on one page."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labeler.config import LabelerConfig
from labeler.labeled import LabeledImage
from labeler.models import Models, load_models
from labeler.naming import choose_label
from labeler.retriever import Retriever
from segmenter import Segments, embed_segments, load_picture, segment

Picture = NDArray[np.uint8]


class Labeler:
    """Outlines and names every region of pictures."""

    def __init__(self, models: Models, retriever: Retriever, config: LabelerConfig) -> None:
        self.models = models
        self.retriever = retriever
        self.config = config

    @classmethod
    def open(cls, index: Path | str, config: LabelerConfig | None = None) -> "Labeler":
        """Open an index, or a folder of them, and load the networks that go with it.

        Raises:
            ShardError: there is no index, or one that cannot be used.
            EncoderError: a network cannot be loaded.
        """
        config = config or LabelerConfig(index=Path(index))
        retriever = Retriever.open(Path(index))
        return cls(load_models(retriever, config), retriever, config)

    def label(self, picture: Picture | Path | str) -> LabeledImage:
        """Label one picture.

        Args:
            picture: uint8 [H, W, 3] RGB, or the path of a file.

        Raises:
            PictureError: the file is no picture that can be read.
        """
        pixels = picture if isinstance(picture, np.ndarray) else load_picture(Path(picture))
        return label_batch([pixels], self.models, self.retriever, self.config)[0]

    def label_many(self, pictures: Iterable[Picture]) -> Iterator[LabeledImage]:
        """Label pictures in order; the same answers as one by one, with fewer searches."""
        stream = iter(pictures)
        while batch := list(islice(stream, self.config.batch_size)):
            yield from label_batch(batch, self.models, self.retriever, self.config)

    def name(self, picture: Picture, segments: Segments) -> LabeledImage:
        """Name segments that are given, as this labeler names its own.

        Args:
            picture: uint8 [H, W, 3] RGB.
            segments: S segments of that picture.
        """
        vectors = embed_segments(picture, segments, self.models.clip_dense)  # float32 [S, D], unit rows
        return name_segments([segments], [vectors], self.retriever, self.config)[0]


def label_batch(
    pictures: Sequence[Picture], models: Models, retriever: Retriever, config: LabelerConfig
) -> list[LabeledImage]:
    """RGB pictures -> segments with a name and its evidence each.

    Networks see one picture at a time, and a search answers every segment by itself, so a picture's result does not
    depend on the batch it is in.

    Args:
        pictures: uint8 [H, W, 3] each.
        models: what sees them.
        retriever: where words come from.
        config: how many segments and captions.
    """
    regions, vectors = [], []
    for picture in pictures:  # outlines and names of one picture directly after another: they may share a network
        regions.append(segment(picture, models.patch_features, config))  # S_i segments
        vectors.append(embed_segments(picture, regions[-1], models.clip_dense))  # float32 [S_i, D], unit rows
    return name_segments(regions, vectors, retriever, config)


def name_segments(
    regions: Sequence[Segments], vectors: Sequence[NDArray[np.float32]], retriever: Retriever, config: LabelerConfig
) -> list[LabeledImage]:
    """Segments and where they lie among the captions -> a name and its evidence each.

    Args:
        regions: S_i segments of each picture.
        vectors: float32 [S_i, D], unit rows, for each picture.
        retriever: where words come from.
        config: how many captions.
    """
    hits = iter(retriever.search(np.concatenate(vectors), config.neighbours))  # S captions x k
    return [
        LabeledImage(
            segments,
            tuple(
                choose_label(vector, evidence, retriever.candidates(evidence))
                for vector, evidence in zip(rows, islice(hits, segments.count), strict=True)
            ),
        )
        for segments, rows in zip(regions, vectors, strict=True)
    ]
