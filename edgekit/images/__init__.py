"""From image files to tensors: decoding, the preprocessing of a network, folders."""

from edgekit.images.decode import open_image
from edgekit.images.folders import ImageFolder, PreparedImages
from edgekit.images.preprocess import InputSpec, normalized, preprocess

__all__ = ["ImageFolder", "InputSpec", "PreparedImages", "normalized", "open_image", "preprocess"]
