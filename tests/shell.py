"""Our commands in processes of their own, which need not load torch and the libraries of the hub once more each.

One process loads them, and is copied for every command: what a command does from its first line on is its own.
"""

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import lemminflect

LIBRARIES = "datasets", "faiss", "numba", "open_clip", "timm", "torch"


class Shell:
    """Runs commands, with what the environment was when it began."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `python -m COMMAND...` in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        files = [folder / "stdout", folder / "stderr"]
        print(json.dumps([command, str(folder), *map(str, files)]), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, code, *(file.read_text("utf-8") for file in files))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Copy this process for every line that is read, and say with which code the copy ended."""
    for library in LIBRARIES:
        importlib.import_module(library)
    lemminflect.getAllLemmas("dogs")  # reads its dictionary
    gc.freeze()  # no copy looks through what it did not make
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(*json.loads(line))
            return
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def become(command: list[str], folder: str, *outputs: str) -> None:
    """Be the command from now on."""
    for descriptor, path in enumerate((os.devnull, *outputs)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
