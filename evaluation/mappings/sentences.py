"""The one adapter for sentence-transformers, which is optional and is imported only when a mapping needs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.mappings.mapping import MappingError
from shards.files import file_info
from shards.manifest import digest

DEFAULT_MODEL = "sentence-transformers/all-mpnet-base-v2"
"""TAG's and Zero-guidance's. It comes from the Hugging Face hub; vicss compares with `all-MiniLM-L6-v2` instead."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.onnx", "*.json", "*.txt")


class SentenceEncoder(Protocol):
    """Texts in, unit vectors out.

    Attributes:
        identity: which encoder it is, so that two mappings with different encoders have different versions.
    """

    identity: str

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [N, D], rows of length 1."""
        ...


class SentenceTransformerEncoder:
    """A sentence-transformers model.

    Args:
        model: anything with sentence-transformers' `encode`.
        identity: see `SentenceEncoder`.
    """

    def __init__(self, model: Any, identity: str) -> None:
        self.identity = identity
        self._model = model

    @classmethod
    def load(cls, folder: Path | None) -> "SentenceTransformerEncoder":
        """Load a model from a folder, or the default one from the hub or its cache.

        Raises:
            MappingError: sentence-transformers is not installed, or there is no such model.
        """
        if folder is not None and not folder.is_dir():
            raise MappingError(f"{folder}: no such folder; --sentences takes a sentence-transformers model on disk")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MappingError(
                "this mapping compares sentences and needs sentence-transformers: pip install "
                "'guidance-free-labeler[sentences]'; --mapping lexical works without it"
            ) from error
        try:
            model = SentenceTransformer(DEFAULT_MODEL if folder is None else str(folder), device="cpu")
        except (OSError, ValueError, KeyError) as error:
            what = f"{DEFAULT_MODEL} could not be had from the hub" if folder is None else f"{folder} holds no model"
            first_line = (str(error).splitlines() or [""])[0]
            raise MappingError(
                f"{what} ({first_line}); give a folder with a sentence-transformers model by --sentences, or choose "
                "--mapping lexical, which needs none"
            ) from error
        return cls(model, DEFAULT_MODEL if folder is None else folder_identity(folder))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [N, D], rows of length 1."""
        vectors = self._model.encode(
            list(texts), batch_size=64, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
        )
        return np.asarray(vectors, dtype=np.float32)


def folder_identity(folder: Path) -> str:
    """The name and the digest of a folder's weights and settings, wherever the folder lies."""
    paths = sorted({path for pattern in _WEIGHTS for path in folder.rglob(pattern)})
    listed = [f"{path.relative_to(folder).as_posix()} {file_info(path).sha256}" for path in paths]
    return f"{folder.name} {digest(chr(10).join(listed).encode())}"
