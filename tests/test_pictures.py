"""Nasty files, made on the spot: each becomes the right pixels or one clear line."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from segmenter.errors import PictureError
from segmenter.pictures import MAX_PIXELS, MAX_RATIO, decode_picture, load_picture
from shards.errors import UserError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """The start of a one-bit grey PNG."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def checked(path: Path) -> npt.NDArray[np.uint8]:
    """Load a picture and check what every picture must be."""
    pixels = load_picture(path)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    return pixels


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.tif", {}),
        ("a.webp", {"lossless": True}),
        ("a.jp2", {}),
    ],
)
def test_lossless_formats_come_back_exactly(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(checked(saved(Image.fromarray(COLOURS), tmp_path / name, **options)), COLOURS)


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    grey = COLOURS[:, :, 0]
    loaded = checked(saved(Image.fromarray(grey), tmp_path / "grey.png"))
    np.testing.assert_array_equal(loaded, np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    black_white = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    loaded = checked(saved(black_white, tmp_path / "bits.png"))
    np.testing.assert_array_equal(loaded[0, :, 0], [0, 255, 0])


def test_one_pixel(tmp_path: Path) -> None:
    loaded = checked(saved(Image.new("RGB", (1, 1), (3, 2, 1)), tmp_path / "dot.png"))
    np.testing.assert_array_equal(loaded, [[[3, 2, 1]]])


@pytest.mark.parametrize(("ink", "colour"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 0, 0, 128), 127)])
def test_cmyk_jpeg(tmp_path: Path, ink: tuple[int, int, int, int], colour: int) -> None:
    loaded = checked(saved(Image.new("CMYK", (16, 16), ink), tmp_path / "print.jpg"))
    np.testing.assert_allclose(loaded.astype(int), colour, atol=2)  # JPEG is not exact


def test_sixteen_bit_grey_keeps_its_gradation(tmp_path: Path) -> None:
    gradient = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for name in ("deep.png", "deep.tif"):
        loaded = checked(saved(Image.fromarray(gradient), tmp_path / name))
        np.testing.assert_array_equal(loaded[:, :, 1], np.round(gradient / 257))
        assert len(np.unique(loaded)) == 256


def test_dark_sixteen_bit_grey_stays_dark(tmp_path: Path) -> None:
    dark = np.array([[0, 200, 257, 2570]], dtype=np.uint16)
    for name in ("dark.png", "dark.tif"):
        np.testing.assert_array_equal(checked(saved(Image.fromarray(dark), tmp_path / name))[0, :, 0], [0, 1, 1, 10])


def test_sixteen_bit_grey_with_a_clear_value(tmp_path: Path) -> None:
    lines = b"".join(b"\0" + struct.pack(">3H", 0, 7, 65535) for _ in range(2))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 0, 0, 0, 0))
    path = tmp_path / "key.png"
    path.write_bytes(
        SIGNATURE
        + header
        + chunk(b"tRNS", struct.pack(">H", 7))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(checked(path)[:, :, 0], [[0, 255, 255]] * 2)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0, 0.5, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 10, 200]], dtype=np.float32), [0, 10, 200]),
        (np.array([[0, 2570, 65535]], dtype=np.float32), [0, 10, 255]),
        (np.array([[-1, 0, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, np.nan, np.inf, -np.inf, 1]], dtype=np.float32), [0, 0, 255, 0, 255]),
        (np.array([[np.nan, np.nan]], dtype=np.float32), [0, 0]),
        (np.array([[-5, -5]], dtype=np.float32), [0, 0]),
        (np.array([[0, 2570, 65535]], dtype=np.int32), [0, 10, 255]),
        (np.array([[0, 50_000, 100_000]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-100, 0, 100]], dtype=np.int32), [0, 128, 255]),
    ],
)
def test_wide_numbers_are_scaled_not_clipped(tmp_path: Path, values: npt.NDArray[np.generic], grey: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = checked(saved(Image.fromarray(values), tmp_path / "wide.tif"))
    np.testing.assert_array_equal(loaded[0, :, 0], grey)


def test_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 100])
    path = saved(picture, tmp_path / "palette.png", transparency=bytes([255, 0, 51]))
    np.testing.assert_array_equal(checked(path), [[[255, 0, 0], [255, 255, 255], [204, 204, 224]]])


@pytest.mark.parametrize("name", ["clear.png", "clear.webp", "clear.tif"])
def test_alpha_lies_on_white(tmp_path: Path, name: str) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    loaded = checked(saved(Image.fromarray(pixels), tmp_path / name, **options))
    np.testing.assert_array_equal(loaded, [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


def test_grey_with_alpha_lies_on_white(tmp_path: Path) -> None:
    picture = Image.new("LA", (2, 1), (100, 0))
    picture.putpixel((0, 0), (100, 255))
    np.testing.assert_array_equal(checked(saved(picture, tmp_path / "la.png"))[0, :, 2], [100, 255])


# What a viewer does to the stored pixels, from the table of the EXIF standard: where the first row and column belong.
UPRIGHT: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "tif-lzw"])
@pytest.mark.parametrize("channels", ["grey", "colour"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path: Path, orientation: int, channels: str, suffix: str) -> None:
    tiles = RNG.integers(0, 256, size=(2, 3), dtype=np.uint8)
    stored = np.kron(tiles, np.ones((16, 16), dtype=np.uint8))  # flat tiles, which JPEG keeps all but exactly
    colours = np.repeat(stored[:, :, None], 3, axis=2)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, object] = {"webp": {"lossless": True}, "tif-lzw": {"compression": "tiff_lzw"}}.get(suffix, {})
    picture = Image.fromarray(stored if channels == "grey" else colours)
    path = saved(picture, tmp_path / f"turned.{suffix[:4].strip('-')}", exif=exif, **options)
    loaded = checked(path)
    assert loaded.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    np.testing.assert_allclose(loaded.astype(int), UPRIGHT[orientation](colours), atol=3 if suffix == "jpg" else 0)


def test_orientation_six_is_a_quarter_turn_clockwise(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = saved(Image.fromarray(COLOURS), tmp_path / "six.png", exif=exif)
    np.testing.assert_array_equal(checked(path), np.rot90(COLOURS, k=-1))


def test_broken_exif_loses_the_turn_and_not_the_picture(tmp_path: Path) -> None:
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense"):
        path = tmp_path / "odd.png"
        Image.fromarray(COLOURS).save(path, exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow remarks on it
            np.testing.assert_array_equal(checked(path), COLOURS)


@pytest.mark.parametrize("name", ["frames.gif", "frames.png", "frames.webp", "frames.tif"])
def test_animations_give_their_first_frame(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(checked(path), np.full((6, 8, 3), [255, 0, 0]))


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = saved(Image.fromarray(COLOURS), tmp_path / "really-a-png.jpg", format="PNG")
    np.testing.assert_array_equal(checked(path), COLOURS)


def refusal(path: Path) -> str:
    """The line with which a file is refused."""
    with pytest.raises(PictureError) as caught:
        load_picture(path)
    line = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm"])
def test_truncated_file(tmp_path: Path, suffix: str) -> None:
    noise = RNG.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged or cut short" in refusal(path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    text = tmp_path / "words.jpg"
    text.write_text("This is not a picture.")
    assert "not a picture this program reads (JPEG," in refusal(text)
    empty = tmp_path / "empty.png"
    empty.touch()
    assert refusal(empty) == f"{empty}: empty, 0 bytes; get the file again"


def test_no_outside_program_is_ever_started(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with Image.open(path) as opened:
        assert opened.format == "EPS"  # Pillow by itself would take it
    assert "not a picture" in refusal(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "not a file" in refusal(tmp_path / "absent.png")
    assert "not a file" in refusal(tmp_path)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "not a file" in refusal(pipe)  # instead of waiting for a writer


def test_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    width, height = 16_000, 12_000
    assert width * height > MAX_PIXELS
    path = tmp_path / "bomb.png"
    lines = zlib.compress(bytes(height * (1 + width // 8)), level=1)
    path.write_bytes(png_header(width, height) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))
    assert path.stat().st_size < 200_000
    assert "16000 x 12000 pixels, the limit is 178,956,970" in refusal(path)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


@pytest.mark.filterwarnings("error")
def test_large_pictures_are_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("L", (30, 20)), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # Pillow warns from here on, and refuses twice as many
    assert load_picture(path).shape == (20, 30, 3)


def test_reading_leaves_the_warnings_of_other_threads_alone(tmp_path: Path) -> None:
    before = list(warnings.filters)

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert warnings.filters == before
            return super().read(size)

    content = saved(Image.new("L", (30, 20)), tmp_path / "any.png").read_bytes()
    assert decode_picture(Watched(content), "any.png").shape == (20, 30, 3)


def test_bomb_is_refused_where_pillow_is_told_to_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(16_000, 12_000) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b""))
    assert "16000 x 12000 pixels, the limit is 178,956,970" in refusal(path)


def test_picture_without_pixels(tmp_path: Path) -> None:
    path = tmp_path / "nothing.gif"
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 0, 5, 0, 0, 0) + b";")
    refusal(path)
    path = tmp_path / "nothing.png"
    path.write_bytes(png_header(0, 5) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    refusal(path)


def test_endless_strip(tmp_path: Path) -> None:
    fits = saved(Image.new("L", (MAX_RATIO, 1)), tmp_path / "strip.png")
    assert checked(fits).shape == (1, MAX_RATIO, 3)
    assert "one side may be 100 times the other" in refusal(
        saved(Image.new("L", (MAX_RATIO + 1, 1)), tmp_path / "longer.png")
    )


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm", "jp2"])
@pytest.mark.filterwarnings("ignore")  # Pillow remarks on damage that it can repair
def test_flipped_bytes_never_escape(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    whole = saved(Image.fromarray(COLOURS), tmp_path / f"whole.{suffix}", exif=exif).read_bytes()
    rng = np.random.default_rng(1)
    damaged = tmp_path / f"damaged.{suffix}"
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 300), size=3):
            content[place] = rng.integers(256)
        damaged.write_bytes(content)
        with contextlib.suppress(PictureError):  # nothing else may come out
            checked(damaged)
