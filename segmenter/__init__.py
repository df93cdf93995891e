"""Pixels in, segments and segment vectors out. No captions, no search index, no torch.

    picture   load_picture(path)                            uint8 [H, W, 3], RGB
    segments  segment(picture, patch_features, config)      label map int32 [H, W], values 1 to S
    cells     segment_cells(picture, patch_features, ...)   the same of the network's cells, int32 [rows, cols]
    outlines  draw_outlines(picture, scores, config)        scores of cells [rows, cols, k] -> segments of the picture
    tree      merge_tree(mean features of segments)         int [S - 1, 2], which belong together, most alike first
    vectors   embed_segments(picture, segments, clip_dense) float32 [S, D], unit rows

Networks come in from outside as objects with one method, `embed` (`DenseEncoder`).
"""

from segmenter.config import Edges, Regions, SegmentConfig, SegmentNumbers
from segmenter.errors import PictureError
from segmenter.grid import cell_shares
from segmenter.kmeans import kmeans
from segmenter.parts import merge_tree, neighbours
from segmenter.pictures import decode_picture, load_picture, picture_of
from segmenter.pipeline import DenseEncoder, draw_outlines, embed_cells, embed_segments, segment, segment_cells
from segmenter.pool import pool_by_segment, unit_rows
from segmenter.segments import Segments, relabel

__all__ = [
    "DenseEncoder",
    "Edges",
    "PictureError",
    "Regions",
    "SegmentConfig",
    "SegmentNumbers",
    "Segments",
    "cell_shares",
    "decode_picture",
    "draw_outlines",
    "embed_cells",
    "embed_segments",
    "kmeans",
    "load_picture",
    "merge_tree",
    "neighbours",
    "picture_of",
    "pool_by_segment",
    "relabel",
    "segment",
    "segment_cells",
    "unit_rows",
]
