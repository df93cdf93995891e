"""Training of the pocket pair: the small encoders that ship with the package."""
