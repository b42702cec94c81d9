"""The ONNX operators that some versions of TensorRT do not read.

Source: onnx/onnx-tensorrt, the importers in builtin_op_importers.cpp (8.2, 8.4, 8.5, 8.6) and
onnxOpImporters.cpp (10.0, 10.1), and docs/operators.md of these versions.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.targets.table import Version

LAST_LISTED: Version = (10, 1)
OF_ONNXRUNTIME = "com.microsoft."
_ADDED: dict[Version, str] = {
    (8, 4): "HardSwish Shrink Xor",
    (8, 5): "GridSample MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike "
    "RoiAlign Trilu",
    (8, 6): "GroupNormalization IsInf LayerNormalization",
    (10,): "CastLike Gelu Hardmax Mish",
    (10, 1): "DeformConv",
}
_NOT_IN_THE_LAST = (
    "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow "
    "CenterCropPad Col2Im Compress ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear "
    "HammingWindow HannWindow ImageDecoder MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix "
    "Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement "
    "QLinearConv QLinearMatMul RegexFullMatch STFT SequenceAt SequenceConstruct SequenceEmpty "
    "SequenceErase SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss "
    "SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique"
)
_FIRST = {name: first for first, names in _ADDED.items() for name in names.split()}
_MISSING = frozenset(_NOT_IN_THE_LAST.split())


def unread(operators: Iterable[str], tensorrt: Version) -> dict[str, Version | None]:
    """The operators that a version of TensorRT does not read, each with the first version that
    does; None if no listed version does. An operator that is not in the lists counts as read, and
    so does one that the last listed version does not read, if the version is later.

    Args:
        operators: their names. Those of ONNX Runtime's own domain begin with ``com.microsoft.``.
        tensorrt: the version.
    """
    found: dict[str, Version | None] = {}
    for name in sorted(set(operators)):
        first = _FIRST.get(name)
        if first is not None and tensorrt < first:
            found[name] = first
        elif name.startswith(OF_ONNXRUNTIME) or (name in _MISSING and tensorrt[:2] <= LAST_LISTED):
            found[name] = None
    return found
