"""The zoo: image classifiers in plain PyTorch, one file per family.

Importing this package does not import torch; creating a model does, and imports only that model's
family.
"""

from .registry import canonical, create_model, find, near_matches, variants
from .variant import Transform, Variant

__all__ = ["Transform", "Variant", "canonical", "create_model", "find", "near_matches", "variants"]
