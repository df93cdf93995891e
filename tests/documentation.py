"""The documentation as its readers use it: blocks that are run in order, links that are followed.

A block of commands (`sh`, or no language and a line that begins with `python`) and a block of `python` are run in a
folder of pictures with an index. What stands in a comment directly above the fence changes that:

    <!-- needs ... -->       not run: it needs something that a machine without a network has not
    <!-- tested in ... -->   not run here, but there
    <!-- exits 1 -->         run, and the last command ends with this code

A block of `text` below one that was run is what it prints: its lines come in this order, `…` stands for anything.
"""

import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAINS = {"labeler.demo": "labeler.demo", "build_index.search": "build_index.search"}
"""Modules that are not run by a `__main__` of theirs."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (.+) -->\s*\Z")
_LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        place: page and line, for messages.
        language: what the fence says, `sh` where it says nothing and holds commands.
        text: the lines.
        note: the comment directly above, or nothing.
        section: the last heading of the second level above.
    """

    place: str
    language: str
    text: str
    note: str
    section: str

    @property
    def is_run(self) -> bool:
        """Whether it is run as it stands."""
        return self.language in ("sh", "python") and not self.note.startswith(("needs ", "tested in "))

    @property
    def commands(self) -> list[str]:
        """The lines of a shell's block, those with a backslash at their end joined, without comments of their own."""
        lines = self.text.replace("\\\n", " ").splitlines() if self.language == "sh" else []
        return [line for line in lines if line.strip() and not line.startswith("#")]

    @property
    def exit_code(self) -> int:
        """How the last command ends."""
        return int(self.note.removeprefix("exits ")) if self.note.startswith("exits ") else 0


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    content = page.read_text("utf-8")
    blocks = []
    for fence in _FENCE.finditer(content):
        language, text = fence.groups()
        if not language and re.search(r"^(python|make|pip|printf|mkdir|cp|find) ", text, re.MULTILINE):
            language = "sh"
        above = content[: fence.start()]
        place = f"{page.relative_to(ROOT)}:{above.count(chr(10)) + 1}"
        note, sections = _COMMENT.search(above), re.findall(r"^## (.+)$", above, re.MULTILINE)
        blocks.append(Block(place, language, text, note[1] if note else "", sections[-1] if sections else ""))
    return blocks


def python_commands(page: Path, section: str = "") -> Iterator[list[str]]:
    """Every command of a page, or a section, that begins with `python`, split as a shell would, without its comment."""
    for block in blocks_of(page):
        if section and block.section != section:
            continue
        for line in block.commands:
            if line.startswith("python "):
                yield shlex.split(line, comments=True)


@dataclass
class Reader:
    """Somebody who follows a page.

    Attributes:
        folder: where.
        names: what the page's Python knows by now.
        said: what the last block that was run printed.
    """

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    said: str = ""

    def follow(self, block: Block) -> None:
        """Run a block, or compare what was printed."""
        if block.is_run and block.language == "sh":
            results = [self.run(line) for line in block.commands]
            self.said = "".join(said for _, said in results)
            codes = [code for code, _ in results]
            assert codes == [*[0] * (len(codes) - 1), block.exit_code], f"{block.place}: {codes}\n{self.said}"
        elif block.is_run:
            self.said = self._captured(lambda: exec(compile(block.text, block.place, "exec"), self.names))[1]
        elif block.language == "text" and not block.note:
            pattern = ".*".join(".*".join(map(re.escape, line.split("…"))) for line in block.text.splitlines())
            assert re.search(pattern, self.said, re.DOTALL), f"{block.place}: it said\n{self.said}"
        elif block.language in ("sh", "python"):
            self.said = ""  # what comes below is not what an earlier block printed

    def run(self, line: str) -> tuple[int, str]:
        """A command's exit code and output; our own are run in this process, which has the libraries loaded."""
        if line.startswith("python -m ") and not re.search(r"[|<>]", line):
            module, *arguments = shlex.split(line, comments=True)[2:]
            main = importlib.import_module(MAINS.get(module, f"{module}.__main__")).main
            return self._captured(lambda: main(arguments))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        return done.returncode, done.stdout + done.stderr

    def _captured(self, run: Any) -> tuple[int, str]:
        stream = io.StringIO()
        with chdir(self.folder), redirect_stdout(stream), redirect_stderr(stream):
            try:
                code = run() or 0
            except SystemExit as stop:  # argparse
                code = int(str(stop.code or 0))
        return code, stream.getvalue()


def links_of(page: Path) -> list[str]:
    """Where a page points to, addresses on the network left out."""
    content = _FENCE.sub("", page.read_text("utf-8"))
    return [link for link in _LINK.findall(content) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    """What can stand behind the `#` of a link to a page, by GitHub's rule."""
    content = _FENCE.sub("", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(content)}
