"""One vector per patch in the space that CLIP shares between pictures and text, from an image transformer."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import get_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from encoders.attention import METHODS
from encoders.blocks import Stream
from encoders.errors import EncoderError
from encoders.last_picture import LastPicture
from encoders.masked_attention import masked_tokens
from encoders.pixels import SHORT_SIDE, PixelSpec, grid_size, to_network_input
from encoders.presets import DenseMethod
from encoders.segment_shares import checked_shares
from encoders.tower import tower_of
from encoders.windows import windows_of

SEGMENTS_AT_ONCE = 8  # that pass the masked blocks together; tokens and hidden layers of 8 large towers fit anywhere


class ClipDense:
    """Dense vectors, segment vectors and the whole-picture vector of an image transformer.

    Pictures go through one at a time, because the order in which a processor adds up numbers may depend on the size of
    a batch, and vectors must depend on nothing but the picture. The last picture's way through the tower is remembered,
    so that whatever is asked about it costs the ordinary blocks once.

    Attributes:
        dimension: D, channels of a dense vector, as many as a text vector of the same model has.
        patch: pixels along the side of one patch.
        method: what made the vectors, for the outputs.
    """

    dimension: int
    patch: int
    method: str

    def __init__(
        self,
        visual: nn.Module,
        pixels: PixelSpec,
        method: DenseMethod | None = None,
        *,
        short_side: int = SHORT_SIDE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes over a loaded tower: it is moved to the device and set to evaluation.

        Args:
            visual: `visual` of an open_clip model: its `VisionTransformer`, or its `TimmModel` around one of timm's.
            pixels: mean, std and interpolation of the same weights; see `clip_pixels`.
            method: how the last blocks are rewritten; None means GEM, or, where an attentional pool reads the tokens,
                MaskCLIP, which leaves the blocks as they were trained and rewrites the pool.
            short_side: pixels that the short side of every picture is resized to, rounded to whole patches.
            device: where to compute.

        Raises:
            UnsupportedTower: the tower is of another kind; the message says which.
            EncoderError: the method needs more than this tower, as `proxy` does.
        """
        self._tower = tower_of(visual.to(device).eval())
        self._device = device
        if method is None:
            method = DenseMethod.MASKCLIP if self._tower.attention_pool else DenseMethod.GEM
        if method not in METHODS:
            raise EncoderError(
                f"--dense {method.value} needs another network's features beside the CLIP: make a ProxyDense of both"
            )
        self._pixels = pixels
        self._method = method
        self._short_side = short_side
        self._stream = LastPicture(self._entered)
        self.method = method.value
        self.patch = self._tower.patch
        self.dimension = self._tower.dimension

    def grid_of(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """(rows, cols) of the patches that stand for a picture."""
        return grid_size(picture.shape[0], picture.shape[1], self._short_side, self.patch)

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One vector per patch.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, D], contiguous, not normalised; rows and cols as `grid_of` gives them.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        with torch.inference_mode():
            stream = self._stream(picture)
            # An attentional pool is the last attention itself: a token alone passes it by its value.
            value_read = self._tower.attention_pool and self._method is DenseMethod.MASKCLIP
            leaving = stream.leaving if value_read else METHODS[self._method](stream)
            dense = self._tower.read(leaving[0, self._tower.prefix :])  # [rows * cols, D]
            vectors: NDArray[np.float32] = dense.reshape(*self.grid_of(picture), -1).float().cpu().numpy()
        return vectors

    def embed_whole(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the tower was trained to say of a picture, at the size and aspect that the patches have.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [D], unit length.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        with torch.inference_mode():
            whole = self._tower.read_whole(self._stream(picture).leaving)[0]
            vector: NDArray[np.float32] = F.normalize(whole.float(), dim=0).cpu().numpy()
        return vector

    def embed_segments(self, picture: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the tower says of each segment, its last blocks looking through the segment's mask.

        Steps 2 and 3 of Zero-guidance Segmentation, see `encoders.masked_attention`. Towers that differ from the
        paper's get the nearest analogue, unmeasured: without a class token, the mean of all attention rows takes the
        place of its row; an attentional pool is one masked attention more; a mean over patches becomes one under the
        mask.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.
            weights: float32 [S, rows, cols], 0 to 1, the share of each cell of `grid_of` that belongs to each segment.

        Returns:
            float32 [S, D], unit rows.

        Raises:
            ValueError: the weights are for another grid, out of range, or a segment has none.
        """
        shares = checked_shares(weights, self.grid_of(picture))  # [S, N]
        with torch.inference_mode():
            stream = self._stream(picture)
            masks = F.pad(torch.from_numpy(shares), (self._tower.prefix, 0), value=1.0).to(self._device)
            vectors = torch.cat([self._segments(stream, some) for some in torch.split(masks, SEGMENTS_AT_ONCE)])
            unit: NDArray[np.float32] = F.normalize(vectors.float(), dim=1).cpu().numpy()
        return unit

    def values(self, picture: NDArray[np.uint8], window: int | None = None) -> Tensor:
        """What the last attention mixes, before it is mixed; for `ProxyDense`.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.
            window: side in pixels, after resizing, of square windows that see the picture one by one, their values
                averaged where they overlap; None lets the tower see it at once.

        Returns:
            [rows, cols, V], on the device; not to be written to. Call it and use it under `torch.inference_mode`.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        rows, cols = self.grid_of(picture)
        side = max(rows, cols) if window is None else max(1, round(window / self.patch))
        if side >= max(rows, cols):
            return self._tower.values(self._stream(picture)).reshape(rows, cols, -1)
        network_input = self._input_of(picture)
        total = count = torch.zeros(())
        for y, x in windows_of(rows, cols, side):
            grid = (y.stop - y.start, x.stop - x.start)
            pixels = network_input[:, :, y.start * self.patch : y.stop * self.patch]
            pixels = pixels[..., x.start * self.patch : x.stop * self.patch]
            values = self._tower.values(self._tower.enter(pixels, grid)).reshape(*grid, -1)
            if not total.ndim:
                total, count = values.new_zeros(rows, cols, values.shape[2]), values.new_zeros(rows, cols, 1)
            total[y, x] += values
            count[y, x] += 1
        return total / count

    def read_values(self, values: Tensor) -> Tensor:
        """What the last attention makes of mixed values, without its residual and MLP: [n, V] to [n, D]."""
        return self._tower.read_values(values)

    def _segments(self, stream: Stream, masks: Tensor) -> Tensor:
        """[S, T] to [S, D]."""
        leaving = masked_tokens(stream, masks, class_token=self._tower.class_token)
        return self._tower.read_segments(leaving, masks)

    def _input_of(self, picture: NDArray[np.uint8]) -> Tensor:
        """[1, 3, rows * patch, cols * patch]."""
        return torch.from_numpy(to_network_input(picture, *self.grid_of(picture), self.patch, self._pixels))[None]

    def _entered(self, picture: NDArray[np.uint8]) -> Stream:
        with torch.inference_mode():
            return self._tower.enter(self._input_of(picture), self.grid_of(picture))


def clip_pixels(visual: nn.Module) -> PixelSpec:
    """What open_clip recorded about the pixels of a tower; where it recorded nothing, OpenAI's mean and std, bicubic.

    Args:
        visual: `visual` of an open_clip model, of any kind.

    Raises:
        EncoderError: what is recorded is not three channels and a filter we have.
    """
    recorded = PreprocessCfg(**get_model_preprocess_cfg(visual))
    return PixelSpec.parse(recorded.mean, recorded.std, recorded.interpolation)
