"""Where the pictures of a folder of labels are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labeler.inputs import LIST, STDIN, PictureFile, shown


@dataclass(frozen=True)
class Photographs:
    """What was labelled, for the page that shows it.

    Attributes:
        root: as the user named it; None where that is not known.
        files: the pictures of the run that are files of their own, by their names.
    """

    root: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path | None, files: Iterable[PictureFile]) -> "Photographs":
        """The pictures of a run."""
        return cls(root, {file.name: file.path for file in files if file.span is None and not file.trouble})

    @property
    def title(self) -> str:
        """What all of them are called."""
        return "pictures" if self.root is None else shown(self.root.resolve().name or str(self.root))

    def find(self, name: str) -> Path | None:
        """The file of a picture; None where there is none, or it may be another one."""
        path = self.files.get(name) or self._of_earlier(name)
        return path if path is not None and path.is_file() else None

    def _of_earlier(self, name: str) -> Path | None:
        """Where a picture of an earlier run would be; what lies beside a list of paths is none of its pictures."""
        if self.root is None or str(self.root) == STDIN or self.root.suffix.lower() == LIST:
            return None
        return (self.root if self.root.is_dir() else self.root.parent) / name


NOT_KNOWN = Photographs()
"""No picture is found."""
