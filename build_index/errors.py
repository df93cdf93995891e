"""What can be wrong with a corpus before a build starts."""

from shards import UserError


class CorpusError(UserError):
    """A corpus cannot be found or read as asked; the message says what was found and what to do."""
