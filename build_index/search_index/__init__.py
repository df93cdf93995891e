"""The search index: what kind suits how many rows, how it is trained, tuned, searched and re-ranked."""
