"""Which pictures are meant: files, folders, globs, tars, lists; and tables of URLs, from a server that misbehaves."""

import io
import os
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from labeler import downloads
from labeler.downloads import download, is_url_table
from labeler.inputs import InputError, PictureFile, find_pictures, to_pixels
from segmenter import PictureError, load_picture


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(seed)))
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # the mode is one of tarfile's
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def found(root: Path, out: Path) -> dict[str, str]:
    return {file.name: file.stem for file in find_pictures(root, out)}


def test_a_folder_without_pictures_tells_what_it_has(tmp_path: Path) -> None:
    write(tmp_path / "real/a.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/a").symlink_to(tmp_path / "real")
    with pytest.raises(
        InputError, match=rf"linked: no pictures .*not followed, name what is behind {tmp_path}/linked/"
    ):
        find_pictures(tmp_path / "linked", tmp_path / "labels")
    write_text(tmp_path / "shards/cc3m/manifest.json")
    for index in (tmp_path / "shards", tmp_path / "shards/cc3m"):
        with pytest.raises(InputError, match=f"no pictures .*; it holds an index, which is given as --index {index}$"):
            find_pictures(index, tmp_path / "labels")
        with pytest.raises(InputError, match=f"^{index}: an index and no pictures; it is given as --index {index}$"):
            find_pictures(tmp_path / "real", tmp_path / "labels", index)
    write_text(tmp_path / "real/manifest.json")  # many a data set has one
    assert len(find_pictures(tmp_path / "real", tmp_path / "labels", tmp_path / "real/a.png")) == 1


def write_text(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_a_file_a_folder_and_a_glob(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.jpg", "deep/er/c.png", "deep/notes.md", "labels/a.png"):
        write(tmp_path / name)
    out = tmp_path / "labels"
    assert found(tmp_path / "a.png", out) == {"a.png": "a"}
    assert found(tmp_path, out) == {"a.png": "a", "deep/b.jpg": "deep/b", "deep/er/c.png": "deep/er/c"}
    assert found(tmp_path / "deep/*", out) == {"b.jpg": "b"}
    assert found(tmp_path / "**/*.png", out) == {"a.png": "a", "deep/er/c.png": "deep/er/c"}
    assert found(tmp_path / "d*/b.[jJ]pg", out) == {"deep/b.jpg": "deep/b"}


@pytest.mark.parametrize("name", ["a.jp2", "a.JPE", "a.mpo", "a.pbm", "a.heic"])
def test_a_picture_in_a_folder_is_read_or_refused_and_never_passed_over(tmp_path: Path, name: str) -> None:
    kind = {".jp2": "JPEG2000", ".pbm": "PPM"}.get(Path(name).suffix, "JPEG")
    Image.new("RGB", (4, 3), "white").convert("1" if kind == "PPM" else "RGB").save(tmp_path / name, kind)
    (file,) = find_pictures(tmp_path, tmp_path / "labels")
    assert file.read().shape == (3, 4, 3)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(PictureError, match=r"not a picture this program reads .*; convert it"):
        file.read()


def test_links_are_followed_and_those_that_lead_nowhere_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "real/a.png")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, target in (("a.png", "../real/a.png"), ("gone.png", "../real/gone.png"), ("circle.png", "circle.png")):
        (folder / name).symlink_to(target)
    (folder / "folder.png").symlink_to(tmp_path / "real")
    files = {file.name: file for file in find_pictures(folder, tmp_path / "labels")}
    assert list(files) == ["a.png", "circle.png", "gone.png"]
    assert files["a.png"].read().shape[2] == 3
    for name in ("circle.png", "gone.png"):
        with pytest.raises(PictureError, match=f"{name}: a link that leads to no file"):
            files[name].read()


def test_a_name_that_looks_like_a_glob_but_is_there_is_a_file(tmp_path: Path) -> None:
    assert found(write(tmp_path / "a[1].png"), tmp_path / "labels") == {"a[1].png": "a[1]"}
    assert found(tmp_path, tmp_path / "labels") == {"a[1].png": "a[1]"}


def test_a_tar_holds_pictures_under_their_keys(tmp_path: Path) -> None:
    members = {f"{key:05}.{kind}": encoded(picture(key)) for key in range(3) for kind in ("png", "json", "txt")}
    members |= {"deep/x.cls.jpg": encoded(picture(9)), "../out.png": b"", "/root.png": encoded(picture(8))}
    path = write_tar(tmp_path / "pictures/00007.tar", members)
    files = {file.name: file for file in find_pictures(path, tmp_path / "labels")}
    assert {name: file.stem for name, file in files.items()} == {
        "00007/00000.png": "00007/00000",
        "00007/00001.png": "00007/00001",
        "00007/00002.png": "00007/00002",
        "00007/deep/x.cls.jpg": "00007/deep/x.cls",
        "00007/root.png": "00007/root",
    }
    for name, seed in {"00007/00001.png": 1, "00007/deep/x.cls.jpg": 9, "00007/root.png": 8}.items():
        np.testing.assert_array_equal(files[name].read(), picture(seed))
    write(tmp_path / "pictures/y.png")
    assert len(found(tmp_path / "pictures", tmp_path / "labels")) == 6
    assert len(found(tmp_path / "pictures/0*.tar", tmp_path / "labels")) == 5


def test_a_damaged_picture_in_a_tar_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"x.png": encoded(picture(0))[:40]})
    (file,) = find_pictures(path, tmp_path / "labels")
    with pytest.raises(PictureError, match=r"a\.tar: a/x\.png: not a picture"):
        file.read()
    path.unlink()
    with pytest.raises(PictureError, match=r"a\.tar: No such file.*it held a/x\.png"):
        file.read()


def test_a_tar_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    compressed = write_tar(tmp_path / "a.tar", {"x.png": b""}, "w:gz")
    with pytest.raises(InputError, match=r"a\.tar: no tar that can be read .* unpack it if it is compressed"):
        find_pictures(compressed, tmp_path / "labels")


def test_lists_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pictures/b.png", "pictures/deep/a.png", "pictures/c.png"):
        write(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = "pictures/c.png\n\npictures/deep/a.png\npictures/missing.png\npictures/c.png\n"
    (tmp_path / "list.txt").write_text(lines)
    expected = {"c.png": "c", "deep/a.png": "deep/a", "missing.png": "missing"}
    assert found(Path("list.txt"), Path("labels")) == expected
    assert list(found(Path("list.txt"), Path("labels"))) == list(expected)  # in the order of the list
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    files = find_pictures(Path("-"), Path("labels"))
    assert [file.name for file in files] == list(expected)
    np.testing.assert_array_equal(files[0].read(), load_picture(tmp_path / "pictures/c.png"))
    with pytest.raises(PictureError, match=r"missing\.png: not a file"):
        files[2].read()


def test_a_list_has_lines_and_names_keep_what_only_looks_like_an_end_of_one(tmp_path: Path) -> None:
    names = ["a\u2028b.png", "a\x85b.png", "a\x0cb.png"]
    for name in names:
        write(tmp_path / name)
    listing = tmp_path / "list.txt"
    for end in ("\n", "\r\n", "\r"):
        listing.write_bytes(end.join(str(tmp_path / name) for name in names).encode())
        assert list(found(listing, tmp_path / "labels")) == names


def test_names_that_files_of_the_run_have_are_not_given_to_pictures(tmp_path: Path) -> None:
    for name in ("annotations.coco.png", "panoptic.jpg", "deep/panoptic.jpg"):
        write(tmp_path / name)
    assert found(tmp_path, tmp_path / "labels") == {
        "annotations.coco.png": "annotations.coco.png",
        "deep/panoptic.jpg": "deep/panoptic",
        "panoptic.jpg": "panoptic.jpg",
    }


def test_a_name_that_is_no_unicode_is_written_with_escapes(tmp_path: Path) -> None:
    try:
        write(tmp_path / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes no such names")
    (file,) = find_pictures(tmp_path, tmp_path / "labels")
    assert file.name == r"caf\xe9.png"
    np.testing.assert_array_equal(file.read(), picture(0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no such file, folder or glob"),
        ("*.png", "no pictures there"),
        (".", "no pictures there"),
        ("list.txt", "no pictures"),
    ],
)
def test_nothing_to_label_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    if name == "list.txt":
        (tmp_path / name).write_text("\n")
    with pytest.raises(InputError, match=message):
        find_pictures(tmp_path / name, tmp_path / "labels")


@pytest.mark.parametrize("folder", ["report.html", "annotations.coco.json", "panoptic.json", "label-studio.xml"])
def test_folders_called_as_files_of_the_whole_run_are_refused(tmp_path: Path, folder: str) -> None:
    for name in (folder, f"deep/{folder}", "panoptic"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name / "a.png")
    with pytest.raises(InputError, match=f"labels would lie where .*{folder} is written; rename {folder}"):
        find_pictures(tmp_path, tmp_path / "labels")
    (tmp_path / folder).rename(tmp_path / "pictures")
    assert len(find_pictures(tmp_path, tmp_path / "labels")) == 3


def test_pictures_as_arrays_and_as_pillows(tmp_path: Path) -> None:
    pixels = picture(4)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(pixels))
    for given in (pixels, Image.fromarray(pixels), path, str(path)):
        np.testing.assert_array_equal(to_pixels(given), pixels)
    turned = Image.fromarray(pixels)
    turned.getexif()[0x0112] = 6  # EXIF: turned to the right
    np.testing.assert_array_equal(to_pixels(turned), np.rot90(pixels, -1))
    clear = Image.fromarray(np.zeros((2, 2, 4), np.uint8))
    np.testing.assert_array_equal(to_pixels(clear), np.full((2, 2, 3), 255))
    for wrong in (pixels[..., 0], pixels.astype(np.float32), np.zeros((0, 4, 3), np.uint8), pixels[..., :2]):
        with pytest.raises(PictureError, match=r"is no picture; give uint8 \[height, width, 3\], RGB"):
            to_pixels(wrong)  # type: ignore[arg-type]


# --- tables of URLs --------------------------------------------------------------------------------------------------


class Misbehaving(BaseHTTPRequestHandler):
    """Serves two pictures, a page that says it is a picture, half a picture, nothing, something late or very slowly."""

    asked: ClassVar = Counter[str]()

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        if self.path == "/missing.png" or (self.path == "/later.png" and self.asked[self.path] == 1):
            self.send_error(404)
            return
        content = {
            "/good.png": encoded(picture(1)),
            "/also%20good.png": encoded(picture(2)),
            "/lies.png": b"<html>not a picture</html>",
            "/later.png": encoded(picture(5)),
            "/half.png": encoded(picture(3))[:60],
            "/slow.png": encoded(picture(4)),
        }[self.path.partition("?")[0]]
        if self.path == "/slow.png":
            time.sleep(4)
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            return  # the other side did not wait

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Where it listens."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()


def test_downloads_say_what_could_not_be_had_and_parts_are_made_anew_where_urls_changed_or_none_was_had(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 1)
    monkeypatch.setattr(downloads, "RETRIES", 0)
    monkeypatch.setattr(downloads, "URLS_PER_PART", 2)
    monkeypatch.setattr(Misbehaving, "asked", Counter())
    table, folder = tmp_path / "urls.parquet", tmp_path / "labels-pictures"

    def times() -> dict[str, int]:
        return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in folder.rglob("*.jpg")}

    kept, failed, odd = ("good.png?1,2", "missing.png"), ("later.png", "slow.png"), ("lies.png", "half.png")
    names = [*kept, *failed, "good.png?3", "good.png?4", *odd, "also%20good.png"]
    pq.write_table(pa.table({"URL": [f"{server}/{name}" for name in names], "caption": names}), table)
    assert is_url_table(table)
    refused = download(table, folder)
    said = {line.partition(": ")[0].rpartition("/")[2]: line for line in refused}
    assert set(said) == {"missing.png", *failed}
    assert "404" in said["missing.png"]
    files = {file.name: file for file in find_pictures(folder, tmp_path / "labels")}
    assert list(files) == [f"0000{place // 2}/0000{place // 2}{place % 2}.jpg" for place in (0, 4, 5, 6, 7, 8)]
    for name, seed in (("00000/000000.jpg", 1), ("00002/000021.jpg", 1), ("00004/000040.jpg", 2)):
        np.testing.assert_array_equal(files[name].read(), picture(seed))
    for name in ("00003/000030.jpg", "00003/000031.jpg"):  # the page that says it is a picture, and half of one
        with pytest.raises(PictureError):
            files[name].read()

    before, table = times(), tmp_path / "urls.txt"
    (folder / "00004/notes.txt").write_text("somebody's")
    urls = [*kept, *failed, "also%20good.png", "good.png?4", *odd]
    table.write_text("".join(f"{server}/{name}\n" for name in urls))
    download(table, folder)
    after = times()
    assert set(after) == set(before) - {"00004/000040.jpg"} | {"00001/000010.jpg"}
    for name in ("00000/000000.jpg", "00003/000030.jpg"):
        assert after[name] == before[name]  # not once more
    assert (folder / "00004/notes.txt").exists()
    np.testing.assert_array_equal(load_picture(folder / "00001/000010.jpg"), picture(5))
    np.testing.assert_array_equal(load_picture(folder / "00002/000020.jpg"), picture(2))


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "urls.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"urls\.parquet: not readable as a table of URLs \(.+\)"):
        download(tmp_path / "urls.parquet", tmp_path / "labels-pictures")


@pytest.mark.parametrize(
    ("name", "text", "is_table"),
    [
        ("a.txt", "\nhttps://example.com/a.jpg\n", True),
        ("a.txt", "pictures/a.jpg\n", False),
        ("a.csv", "url\n", True),
        ("a.jpg", "http://", False),
    ],
)
def test_which_files_are_tables_of_urls(tmp_path: Path, name: str, text: str, is_table: bool) -> None:  # noqa: FBT001
    (tmp_path / name).write_text(text)
    assert is_url_table(tmp_path / name) == is_table
    assert not is_url_table(tmp_path / "none.csv")


def test_a_table_without_urls_lists_its_columns(tmp_path: Path) -> None:
    for name, text in {"a.csv": "link,caption\nx,y\n", "a.tsv": "link\tcaption\nx\ty\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="no column `url` among link, caption; rename"):
            download(tmp_path / name, tmp_path / "pictures")


def test_a_picture_file_of_its_own_is_read_as_ever(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", 5)
    np.testing.assert_array_equal(PictureFile(path, "a.png", "a").read(), picture(5))


# --- names of outputs ------------------------------------------------------------------------------------------------


def test_what_a_shell_makes_of_a_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pictures/b.png", "pictures/deep/a.png", "pictures/c.jpg", "other/d.png", "labels/a.png"):
        write(tmp_path / name)
    (tmp_path / "pictures/notes.txt").write_text("no list of pictures")
    monkeypatch.chdir(tmp_path)

    def several(*roots: str) -> list[str]:
        first, *more = map(Path, roots)
        return [file.name for file in find_pictures(first, Path("labels"), *more)]

    assert several("pictures/c.jpg", "pictures/b.png", "pictures/notes.txt") == ["c.jpg", "b.png"]
    assert several("pictures/deep", "pictures/b.png", "pictures/b.png") == ["deep/a.png", "b.png"]
    assert several("other", "pictures", "labels") == [
        "other/d.png",
        "pictures/b.png",
        "pictures/c.jpg",
        "pictures/deep/a.png",
    ]
    with pytest.raises(InputError, match="none: no such file or folder; of several paths each has to be one"):
        several("pictures/b.png", "none")


def test_labels_are_never_written_over_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(tmp_path / "ow/photo.png")
    before = own.read_bytes()
    write(tmp_path / "photo.png")
    (tmp_path / "link").symlink_to(tmp_path / "ow")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/ow/photo.png\n")
    monkeypatch.chdir(tmp_path)
    for root, out in (("ow/photo.png", "ow"), ("list.txt", "ow"), ("photo.png", "."), ("ow/photo.png", "link")):
        with pytest.raises(InputError, match=r"labels of .*photo\.png would be written over the picture .*photo\.png"):
            find_pictures(Path(root), Path(out))
    assert own.read_bytes() == before
    assert found(Path("ow/photo.png"), Path("labels")) == {"photo.png": "photo"}
    write(tmp_path / "photo.jpg")
    assert found(Path("photo.jpg"), Path("ow")) == {"photo.jpg": "photo"}


def test_a_folder_of_labels_that_leads_back_to_the_pictures_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pictures/deep/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/deep").symlink_to(tmp_path / "pictures/deep")
    with pytest.raises(InputError, match="would be written over the picture"):
        find_pictures(tmp_path / "pictures", tmp_path / "labels")


def test_no_two_pictures_share_a_stem(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.jpg.png", "a.jpg.png.gif", "b.jpg"):
        write(tmp_path / name)
    assert found(tmp_path, tmp_path / "labels") == {
        "a.jpg": "a.jpg",
        "a.jpg.png": "a.jpg.png",
        "a.jpg.png.gif": "a.jpg.png.gif",
        "a.png": "a.png",
        "b.jpg": "b",
    }


def test_a_file_that_is_listed_under_two_paths_is_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pictures/a.png")
    write(tmp_path / "pictures/b.png")
    monkeypatch.chdir(tmp_path)
    lines = ["pictures/a.png", f"{tmp_path}/pictures/a.png", "./pictures/../pictures/a.png", "none.png", "./none.png"]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "pictures/b.png"]))
    assert [file.name for file in find_pictures(Path("list.txt"), Path("labels"))] == [
        "pictures/a.png",
        "none.png",
        "pictures/b.png",
    ]


def test_a_second_file_of_one_name_in_a_tar_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for seed in range(2):
            member = tarfile.TarInfo("x.png")
            member.size = len(encoded(picture(seed)))
            tar.addfile(member, io.BytesIO(encoded(picture(seed))))
    first, second = find_pictures(path, tmp_path / "labels")
    np.testing.assert_array_equal(first.read(), picture(0))
    with pytest.raises(PictureError, match=r"a\.tar: another picture is called a/x\.png; rename one of them"):
        second.read()


def test_a_tar_beside_the_folder_that_it_was_keeps_its_suffix(tmp_path: Path) -> None:
    write(tmp_path / "pictures/00007/x.png", 1)
    write_tar(tmp_path / "pictures/00007.tar", {"x.png": encoded(picture(2)), "y.png": encoded(picture(3))})
    assert found(tmp_path / "pictures", tmp_path / "labels") == {
        "00007/x.png": "00007/x",
        "00007.tar/x.png": "00007.tar/x",
        "00007.tar/y.png": "00007.tar/y",
    }


def test_a_glob_that_climbs_names_its_pictures_below_the_labels(tmp_path: Path) -> None:
    for name in ("two/a1/x.png", "two/a2/x.png", "one/p.png", "one/q.png"):
        write(tmp_path / name)
    assert found(tmp_path / "two/a*/../../one/*.png", tmp_path / "labels") == {"p.png": "p", "q.png": "q"}
    assert found(tmp_path / "t*/../one/../*/p.png", tmp_path / "labels") == {"p.png": "p"}


def test_pictures_among_the_labels_are_said_to_be_there(tmp_path: Path) -> None:
    write(tmp_path / "labels/a.png")
    write(tmp_path / "labels/deep/b.png")
    for root in (tmp_path, tmp_path / "labels/deep", tmp_path / "labels/*.png"):
        with pytest.raises(InputError, match=r"all \d pictures there lie below --out .*labels, where labels are writ"):
            find_pictures(root, tmp_path / "labels")


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_tar_among_pictures_that_cannot_be_read_is_named_and_the_rest_found(tmp_path: Path) -> None:
    write(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/empty.tar").touch()
    (tmp_path / "pictures/junk.tar").write_bytes(b"junk" * 1_000)
    files = {file.name: file for file in find_pictures(tmp_path / "pictures", tmp_path / "labels")}
    assert list(files) == ["a.png", "empty.tar", "junk.tar"]
    for name in ("empty.tar", "junk.tar"):
        with pytest.raises(PictureError, match=f"{name}: no tar that can be read"):
            files[name].read()
        assert files[name].digest() == ""
    with pytest.raises(InputError, match=r"empty\.tar: no tar that can be read"):
        find_pictures(tmp_path / "pictures/empty.tar", tmp_path / "labels")


@pytest.mark.parametrize("cut", ["in a header", "in a picture", "between pictures", "junk"])
def test_a_tar_that_is_cut_short_gives_what_is_whole(tmp_path: Path, cut: str) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{number}.png": encoded(picture(number)) for number in range(3)})
    with tarfile.open(path) as tar:
        start = tar.getmembers()[2].offset
    content = path.read_bytes()
    kept = {"in a header": start + 100, "in a picture": start + 700, "between pictures": start, "junk": start}[cut]
    path.write_bytes(content[:kept] + (b"junk" * 1_000 if cut == "junk" else b""))
    *whole, broken = find_pictures(path, tmp_path / "labels")
    assert [file.name for file in whole] == ["a/0.png", "a/1.png"]
    np.testing.assert_array_equal(whole[1].read(), picture(1))
    with pytest.raises(PictureError, match=r"a\.tar: the tar is damaged or cut short after 2 whole files; get it"):
        broken.read()


def test_lists_of_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", 1)
    listing = tmp_path / "list.txt"
    listing.write_bytes("a.png\n".encode("utf-8-sig"))
    (file,) = find_pictures(listing, tmp_path / "labels")
    np.testing.assert_array_equal(file.read(), picture(1))
    listing.write_bytes(b"a.png\nnone/caf\xe9.png\n.\n/\n" + b"x" * 5_000 + b"\n")
    first, *others = find_pictures(listing, tmp_path / "labels")
    np.testing.assert_array_equal(first.read(), picture(1))
    assert others[0].name.endswith(r"none/caf\xe9.png")
    assert len(others) == 4
    for other in others:
        with pytest.raises(PictureError, match=r"not a file|unreadable"):
            other.read()
        assert other.digest() == ""
    for coding in ("utf-16", "utf-16-le"):
        listing.write_bytes("a.png\n".encode(coding))
        with pytest.raises(InputError, match=r"list\.txt: no list of paths, it holds zero bytes \(UTF-16\?\); save it"):
            find_pictures(listing, tmp_path / "labels")
