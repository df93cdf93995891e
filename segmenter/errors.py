"""Everything that can be wrong with a picture.

UserError           something the user can put right: printed as one line
└── PictureError    a file cannot be read as a picture
"""

from shards.errors import UserError


class PictureError(UserError):
    """A file cannot be read as a picture; the message says which, what was found and what to do."""
