"""The zoo: image classifiers in plain PyTorch, one file a family.

Importing this package does not import torch; creating a model does, and imports only that model's
family.
"""

from .catalog import Transform, Variant
from .registry import canonical, create_model, find, near_matches, variants

__all__ = ["Transform", "Variant", "canonical", "create_model", "find", "near_matches", "variants"]
