"""What can be wrong with a corpus before a build starts, and how others' errors are said."""

from shards import UserError


class CorpusError(UserError):
    """A corpus cannot be found or read as asked; the message says what was found and what to do."""


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    first = error.args[0] if error.args else None
    said = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(error)  # ijson says some in bytes
    return (said.strip().split("\n")[0] or type(error).__name__)[:200]
