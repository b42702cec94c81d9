"""From image files to tensors: decoding, the preprocessing of a network, folders."""

from edgekit.images.decode import open_image
from edgekit.images.folders import ImageFolder, PreparedImages
from edgekit.images.preprocess import InputSpec, as_taken, normalized, preprocess

__all__ = [
    "ImageFolder",
    "InputSpec",
    "PreparedImages",
    "as_taken",
    "normalized",
    "open_image",
    "preprocess",
]
