"""A Hugging Face hub on this machine: answers from a folder what huggingface_hub, and so timm and open_clip, ask for.

    FOLDER/datasets/OWNER/NAME/REVISION/...        FOLDER/models/OWNER/NAME/REVISION/...

A revision is written as in a URL: `main`, or `refs%2Fconvert%2Fparquet`.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "a" * 40
RESOLVED = re.compile(r"/(?P<datasets>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
ASKED = re.compile(
    r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)(/(?P<verb>tree|paths-info|revision)/(?P<revision>[^/]+)(/(?P<path>.*))?)?"
)


class Hub(BaseHTTPRequestHandler):
    """One request.

    Attributes:
        root: the folder.
        lost: bytes of files; what has any of them is not given, as if the connection failed there.
    """

    root: Path
    lost = range(0)
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.posted = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if found := RESOLVED.fullmatch(path):
            self.give("datasets" if found["datasets"] else "models", found["name"], found["revision"], found["path"])
        elif found := ASKED.fullmatch(path):
            self.tell(found["kind"], found["name"], found["verb"], found["revision"] or "main", found["path"] or "")
        else:
            self.refuse(404, "EntryNotFound")

    def folder(self, kind: str, name: str, revision: str) -> Path | None:
        """Where a revision of a repository lies; None once it was answered that it does not."""
        revision = "main" if revision == COMMIT else unquote(revision).replace("/", "%2F")
        if not (self.root / kind / name).is_dir():
            self.refuse(404, "RepoNotFound")
        elif not (folder := self.root / kind / name / revision).is_dir():
            self.refuse(404, "RevisionNotFound")
        else:
            return folder
        return None

    def tell(self, kind: str, name: str, verb: str | None, revision: str, path: str) -> None:
        """What is in a repository."""
        if not (folder := self.folder(kind, name, revision)):
            return
        if verb == "paths-info":
            wanted = [folder / each for each in parse_qs(self.posted.decode())["paths"]]
            self.answer_json([entry(folder, each) for each in wanted if each.exists()])
        elif verb == "tree":
            there = folder / unquote(path)
            below = there.rglob("*") if "recursive=true" in self.path.lower() else there.glob("*")
            self.answer_json([entry(folder, each) for each in sorted(below)])
        else:
            files = [{"rfilename": each["path"]} for each in files_of(folder)]
            self.answer_json({"id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": files})

    def give(self, kind: str, name: str, revision: str, path: str) -> None:
        """A file, or the part of it that is asked for."""
        if not (folder := self.folder(kind, name, revision)):
            return
        if not (file := folder / unquote(path)).is_file():
            self.refuse(404, "EntryNotFound")
            return
        data = file.read_bytes()
        headers = {"ETag": f'"{digest(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or ""):
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            if first < self.lost.stop and last >= self.lost.start:
                self.refuse(410, "Gone")
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self.answer(206, data[first : last + 1], headers)
        else:
            self.answer(200, data, headers)

    def answer_json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", {"X-Error-Code": code})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def entry(folder: Path, path: Path) -> dict[str, Any]:
    """A file or a folder of a repository, as the hub describes it."""
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT}
    return {"type": "file", "path": name, "oid": digest(path), "size": path.stat().st_size}


def files_of(folder: Path) -> Iterator[dict[str, Any]]:
    """All files of a repository."""
    return (entry(folder, path) for path in sorted(folder.rglob("*")) if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def served(root: Path) -> Iterator[tuple[str, type[Hub]]]:
    """Serve a folder: the address, and the handler, whose `lost` may be changed."""
    handler = type("ServedHub", (Hub,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler
        finally:
            server.shutdown()
