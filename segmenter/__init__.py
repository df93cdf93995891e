"""Pixels in, segments and segment vectors out. No captions, no search index, no torch.

    picture   load_picture(path)                            uint8 [H, W, 3], RGB
    segments  segment(picture, patch_features, config)      label map int32 [H, W], values 1 to S
    vectors   embed_segments(picture, segments, clip_dense) float32 [S, D], unit rows

Networks come in from outside as objects with one method, `embed` (`DenseEncoder`).
"""

from segmenter.errors import PictureError
from segmenter.kmeans import kmeans
from segmenter.pictures import load_picture
from segmenter.pipeline import DenseEncoder, Regions, SegmentConfig, embed_segments, segment
from segmenter.pool import pool_by_segment
from segmenter.segments import Segments, relabel

__all__ = [
    "DenseEncoder",
    "PictureError",
    "Regions",
    "SegmentConfig",
    "Segments",
    "embed_segments",
    "kmeans",
    "load_picture",
    "pool_by_segment",
    "relabel",
    "segment",
]
