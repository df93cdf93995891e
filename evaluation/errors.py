"""Everything that can be wrong with an evaluation.

UserError              something the user can put right: printed as one line, exit code 2
├── ClassListError     a class list cannot be used (evaluation.classes)
├── DatasetError       a data set is not where it should be, or a file of it is not what it should be
└── EvaluationError    a run cannot be started or read: nothing to score, foreign results in the way
"""

from shards import UserError


class DatasetError(UserError):
    """A data set, or a file of it, is not what it should be; the message says what was found and what to do."""


class EvaluationError(UserError):
    """A run cannot be started, or its results cannot be read."""
