"""Annotated pictures in the layouts in which they are published: `open_dataset(name, root)`."""

from evaluation.datasets.dataset import OTHER, VOID, Dataset, Item
from evaluation.datasets.known import DatasetName, open_dataset

__all__ = ["OTHER", "VOID", "Dataset", "DatasetName", "Item", "open_dataset"]
