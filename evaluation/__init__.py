"""Scores the labeler as the field does, and splits every loss into segments, names and gating."""
