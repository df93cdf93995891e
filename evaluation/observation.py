"""Everything that scoring needs to know about one picture, so that no network is asked twice.

An observation holds no class that depends on a mapping: other mappings are scored on finished observations.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from encoders.last_picture import LastPicture
from evaluation.config import TAG_SIDE, Size
from evaluation.datasets import Dataset, Item
from evaluation.errors import DatasetError
from evaluation.metrics.confusion import overlaps
from evaluation.vocabulary import Vocabulary, nearest
from labeler.labeled import LabeledImage
from labeler.labels import UNKNOWN
from labeler.pipeline import Labeler
from segmenter import DenseEncoder, load_picture, relabel
from shards.manifest import digest

Picture = NDArray[np.uint8]
LabelMap = NDArray[np.int32]


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One segment, found by the labeler or taken from the ground truth.

    Attributes:
        word: what the labeler calls it.
        score: how sure it is, 0 to 1.
        nearest: the class whose published string lies nearest to its vector.
        nearest_present: the same among the classes that stand in the picture.
        pictured: the same as `nearest` with Zero-guidance's prompt.
        cosine: of `pictured`, -1 to 1.
        overlaps: pixels by what stands there, as pairs of a column of `overlaps` and a number above 0.
    """

    word: str
    score: float
    nearest: int
    nearest_present: int
    pictured: int
    cosine: float
    overlaps: list[tuple[int, int]]


class Observation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One picture, seen and named.

    Attributes:
        protocol: digest of everything that this depends on besides the picture.
        id: the picture's name in its data set.
        picture: digest of the photograph's file.
        truth: digest of the label map.
        size: height and width at which pixels were counted.
        own: the labeler's segments, in the order of their numbers.
        given: the segments of the ground truth, one for each class that stands there.
    """

    protocol: str
    id: str
    picture: str
    truth: str
    size: tuple[int, int]
    own: list[Region]
    given: list[Region]

    def table(self, regions: list[Region], classes: int) -> NDArray[np.int64]:
        """The overlaps of segments: int64 [S, C + 2]."""
        table = np.zeros((len(regions), classes + 2), np.int64)
        for row, region in enumerate(regions):
            for column, pixels in region.overlaps:
                table[row, column] = pixels
        return table


def words_said(regions: Iterable[Region]) -> list[str]:
    """What segments are called, each word once, in alphabetical order; no word is none."""
    return sorted({region.word for region in regions} - {UNKNOWN})


class SeenOnce:
    """A network that remembers the picture it saw last: several sets of segments are pooled from one look."""

    def __init__(self, encoder: DenseEncoder) -> None:
        self._embed = LastPicture(encoder.embed)

    def embed(self, picture: Picture) -> NDArray[np.float32]:
        """As the network itself: float32 [rows, cols, D]."""
        return self._embed(picture)


class Observer:
    """Labels pictures and sets what it sees against the ground truth."""

    def __init__(self, labeler: Labeler, vocabulary: Vocabulary, dataset: Dataset, size: Size, protocol: str) -> None:
        models = replace(labeler.models, clip_dense=SeenOnce(labeler.models.clip_dense))
        self.labeler = Labeler(models, labeler.retriever, labeler.config)
        self.dataset = dataset
        self.size = size
        self._vocabulary = vocabulary
        self._protocol = protocol

    def observe(self, item: Item) -> tuple[Observation, LabeledImage]:
        """See and name one picture.

        Raises:
            PictureError: the photograph cannot be read.
            DatasetError: the annotation cannot be read, or is of another size.
        """
        picture, truth = self.load(item)
        classes = len(self.dataset.classes)
        own = self.labeler.label(picture)
        stands = relabel(truth)
        given = self.labeler.name(picture, stands)
        present = np.flatnonzero(np.bincount(truth.ravel(), minlength=classes)[:classes])
        regions = self._regions(picture, truth, given, present)
        observation = Observation(
            protocol=self._protocol,
            id=item.id,
            picture=digest(item.picture.read_bytes()),
            truth=digest(truth.tobytes()),
            size=_size(truth),
            own=self._regions(picture, truth, own, present),
            given=[region for region in regions if region.overlaps[0][0] < classes],
        )
        return observation, own

    def still_holds(self, observation: Observation, item: Item) -> bool:
        """Whether an earlier observation has this protocol, and its photograph and label map are what they were.

        Raises:
            PictureError: the photograph cannot be read.
            DatasetError: the annotation cannot be read, or is of another size.
        """
        if observation.protocol != self._protocol:
            return False
        _, truth = self.load(item)
        now = digest(item.picture.read_bytes()), digest(truth.tobytes()), _size(truth)
        return (observation.picture, observation.truth, observation.size) == now

    def load(self, item: Item) -> tuple[Picture, LabelMap]:
        """A picture and what stands where, both at the size at which they are counted.

        Raises:
            PictureError: the photograph cannot be read.
            DatasetError: the annotation cannot be read, or is of another size.
        """
        picture, truth = load_picture(item.picture), self.dataset.truth(item)
        if picture.shape[:2] != truth.shape:
            raise DatasetError(
                f"{item.truth}: {truth.shape[0]} x {truth.shape[1]} pixels, its picture {item.picture} has "
                f"{picture.shape[0]} x {picture.shape[1]}; they must be of one size{_if_turned(item.picture)}"
            )
        return (picture, truth) if self.size is Size.NATIVE else (_square(picture), _square_map(truth))

    def _regions(
        self, picture: Picture, truth: LabelMap, labeled: LabeledImage, present: NDArray[np.intp]
    ) -> list[Region]:
        vectors = self.labeler.embed(picture, labeled.segments)  # float32 [S, D]
        table = overlaps(labeled.segments.label_map, truth, len(self.dataset.classes))  # int64 [S, C + 2]
        near, _ = nearest(vectors, self._vocabulary.as_concepts)
        here, _ = nearest(vectors, self._vocabulary.as_concepts, present if present.size else None)
        pictured, cosines = nearest(vectors, self._vocabulary.as_images)
        return [
            Region(
                word=label.name.label,
                score=label.name.score,
                nearest=int(near[row]),
                nearest_present=int(here[row]),
                pictured=int(pictured[row]),
                cosine=float(cosines[row]),
                overlaps=[(int(column), int(table[row, column])) for column in np.flatnonzero(table[row])],
            )
            for row, label in enumerate(labeled.labels)
        ]


def _if_turned(photograph: Path) -> str:
    """What to do where a mask may be drawn over a photograph as it lies in its file; empty for one that is upright."""
    with Image.open(photograph) as opened:
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ", as the picture is seen: EXIF turns this photograph, so turn its mask, too" if turned else ""


def _square(picture: Picture) -> Picture:
    """TAG's resizing: bilinear, the aspect not kept."""
    return np.asarray(Image.fromarray(picture).resize((TAG_SIDE, TAG_SIDE), Image.Resampling.BILINEAR))


def _square_map(truth: LabelMap) -> LabelMap:
    return np.array(
        Image.fromarray(truth.astype(np.uint8)).resize((TAG_SIDE, TAG_SIDE), Image.Resampling.NEAREST), np.int32
    )


def _size(truth: LabelMap) -> tuple[int, int]:
    return truth.shape[0], truth.shape[1]
