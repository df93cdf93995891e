"""Everything that can be wrong with an index, as one tree.

    UserError                    something the user can put right: printed as one line, exit code 2
    └── ShardError               an index cannot be read, written or used
        ├── NoIndex              no finished index here
        ├── UnsupportedVersion   written by another version of the format
        ├── ShardDamaged         a file is not what the manifest says
        ├── EncoderMismatch      the vectors come from another encoder
        ├── PlanConflict         an unfinished build of something else is in the way
        └── IndexBusy            another program is writing there

Whatever is raised outside this tree is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Something that the user can put right; the message says what was found and what to do."""


class ShardError(UserError):
    """An index cannot be read, written or used."""


class NoIndex(ShardError):
    """There is no finished index at the path."""


class UnsupportedVersion(ShardError):
    """The folder was written by a version of the format that this program does not read."""


class ShardDamaged(ShardError):
    """A file is missing or is not what the manifest says."""


class EncoderMismatch(ShardError):
    """The index holds vectors of another encoder, so similarities would mean nothing."""


class PlanConflict(ShardError):
    """An unfinished build with another encoder, other settings or other sources occupies the folder."""


class IndexBusy(ShardError):
    """Another program is writing in the folder."""
