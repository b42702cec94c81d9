"""The table of every registered variant, readable without torch.

One row per variant: its name, its class and arguments, and facts that a test recomputes
(parameters, MACs) or that a paper or checkpoint states (input transform). The pretrained files are
in ``weights.py``.
"""

from __future__ import annotations

from .variant import Variant
from .variants_classic import alexnet, googlenet, lenet, resnet, vgg
from .variants_efficient import efficientnet, efficientnet_lite, efficientnetv2
from .variants_mobile import mobilenetv1, mobilenetv2, mobilenetv3, shufflenetv1, shufflenetv2

VARIANTS: tuple[Variant, ...] = (
    *lenet(),
    *alexnet(),
    *vgg(),
    *googlenet(),
    *resnet(),
    *mobilenetv1(),
    *mobilenetv2(),
    *mobilenetv3(),
    *shufflenetv1(),
    *shufflenetv2(),
    *efficientnet(),
    *efficientnet_lite(),
    *efficientnetv2(),
)
