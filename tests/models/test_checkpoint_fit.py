"""Which tensors of a checkpoint fit a network, by name and by order, and pretrained files."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekit.models import create_model, find
from edgekit.models.pretrained import checkpoint
from edgekit.models.pretrained.checkpoint import (
    in_reference_order,
    load_checkpoint,
    load_pretrained,
)
from edgekit.models.pretrained.download import Progress
from edgekit.models.pretrained.weights import WEIGHTS, Weights, WeightsUnavailable
from tests.models.checkpoints import Net, is_same, refused, state_of


def _different(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**state_of(), **{key.replace("__", "."): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "expected", "hint"),
    [
        (_different(bn__weight=None), ["missing: bn.weight"], "another width or depth"),
        (
            _different(more__weight=torch.ones(1)),
            ["unexpected: more.weight"],
            "another width or depth",
        ),
        (
            _different(conv__weight=torch.ones(8, 3, 3, 3)),
            [
                "different: conv.weight is float32 (8, 3, 3, 3), the network has float32 (4, 3, 3, 3)"
            ],
            "another width or depth",
        ),
        (
            _different(conv__bias=torch.ones(4, dtype=torch.int8)),
            ["different: conv.bias is int8 (4,)"],
            "another width or depth",
        ),
        (
            _different(head__weight=torch.ones(9, 4), head__bias=torch.ones(9)),
            ["different: head.weight", "different: head.bias"],
            "build the network with num_classes=9",
        ),
        (
            {f"layer{i}.weight": torch.ones(1) for i in range(7)},
            ["missing: … and 3 more", "unexpected: layer4.weight", "unexpected: … and 2 more"],
            "another implementation",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    tmp_path: Path, state: dict[str, Tensor], expected: list[str], hint: str
) -> None:
    torch.save(state, tmp_path / "net.pth")
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    error = refused(lambda: load_checkpoint(net, tmp_path / "net.pth"), *expected)
    assert error.hint is not None
    assert hint in error.hint
    assert is_same(net.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = state_of()
    state["bn.running_var"][2] = value
    torch.save(state, tmp_path / "net.pth")
    net = Net()
    refused(
        lambda: load_checkpoint(net, tmp_path / "net.pth"),
        "values in bn.running_var that are not finite",
    )
    assert bool(torch.isfinite(net.bn.running_var).all())  # type: ignore[arg-type]


def test_half_precision_is_converted_and_counters_may_be_absent(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in state_of().items() if value.is_floating_point()}
    torch.save(state, tmp_path / "net.pth")
    net = Net()
    load_checkpoint(net, tmp_path / "net.pth")
    assert net.conv.weight.dtype == torch.float32
    assert torch.equal(net.conv.weight, state_of()["conv.weight"])


def test_keys_that_a_network_drops_itself_are_welcome(tmp_path: Path) -> None:
    with_heads = create_model("googlenet", num_classes=3, aux=True)
    torch.save(with_heads.state_dict(), tmp_path / "net.pth")
    assert any(key.startswith("aux1.") for key in with_heads.state_dict())
    net = create_model("googlenet", num_classes=3)
    load_checkpoint(net, tmp_path / "net.pth")
    assert torch.equal(net.state_dict()["fc.weight"], with_heads.state_dict()["fc.weight"])


def test_the_order_decides_and_the_last_names_must_agree() -> None:
    renamed = OrderedDict(
        (f"r{i}.{key.rpartition('.')[2]}", value)
        for i, (key, value) in enumerate(state_of().items())
    )
    expected = {
        key: value for key, value in state_of().items() if not key.endswith("num_batches_tracked")
    }
    assert is_same(in_reference_order(renamed, Net()), expected)
    swapped = OrderedDict(
        (key, renamed[key])
        for key in sorted(renamed, key=lambda key: (not key.endswith("bias"), key))
    )
    refused(
        lambda: in_reference_order(swapped, Net()),
        "the checkpoint has r1.bias where the network has conv.weight",
    )
    refused(
        lambda: in_reference_order({"r0.weight": torch.ones(1)}, Net()),
        "the checkpoint has 1 tensors and the network 8",
    )


def _randomize(net: nn.Module) -> dict[str, Tensor]:
    """A state with every tensor different, and variances that keep activations alive."""
    generator = torch.Generator().manual_seed(0)
    for key, value in net.state_dict().items():
        if value.is_floating_point():
            value.add_(
                torch.rand(value.shape, generator=generator)
                * (0.1 if "running" in key or value.ndim == 1 else 0.02)
            )
    return net.state_dict()


@pytest.mark.parametrize(
    ("name", "timm_name", "size"),
    [
        ("mobilenetv2_050", "mobilenetv2_050", 96),
        ("mobilenetv2_140", "mobilenetv2_140", 96),
        ("efficientnet_lite0", "tf_efficientnet_lite0", 96),
        ("efficientnet_lite1", "tf_efficientnet_lite1", 96),
        ("efficientnet_lite2", "tf_efficientnet_lite2", 96),
    ],
)
def test_the_order_of_our_tensors_is_timms(name: str, timm_name: str, size: int) -> None:
    """The reference files name their tensors after another implementation; test_pretrained shows on
    the files that this is timm's order.
    """
    import timm

    assert WEIGHTS[name].key_order == "reference"
    theirs = timm.create_model(timm_name).eval()
    state = OrderedDict(
        (f"other.{i}.{key.rpartition('.')[2]}", value)
        for i, (key, value) in enumerate(_randomize(theirs).items())
    )
    ours = create_model(name).eval()
    ours.load_state_dict(in_reference_order(state, ours), strict=False)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = theirs(x), ours(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_keys_of_rows_in_our_own_order_are_ours() -> None:
    import timm
    from pytorchcv.model_provider import get_model

    for name, timm_name in (
        ("efficientnet_lite3", "tf_efficientnet_lite3"),
        ("efficientnetv2_b0", "tf_efficientnetv2_b0"),
    ):
        assert WEIGHTS[name].key_order == "own"
        assert _shapes(create_model(name)) == _shapes(timm.create_model(timm_name))
    assert _shapes(create_model("shufflenetv1_g3")) == _shapes(get_model("shufflenet_g3_w1"))


def _shapes(net: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in net.state_dict().items()}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Makes a random state the published one of mobilenetv2_035."""
    torch.manual_seed(0)
    state = create_model("mobilenetv2_035").state_dict()
    path = tmp_path / "net.pth"
    torch.save(state, path)

    def fetch(weights: Weights, *, offline: bool = False, progress: Progress | None = None) -> Path:
        assert weights.file == "net.pth"
        return path

    monkeypatch.setattr(
        checkpoint,
        "WEIGHTS",
        {"mobilenetv2_035": Weights("net.pth", "test:net", "MIT", sha256="0" * 64)},
    )
    monkeypatch.setattr(checkpoint, "fetch", fetch)
    return state


def test_pretrained_loads_all(published: dict[str, Tensor], tmp_path: Path) -> None:
    variant = find("mobilenetv2_035")
    assert variant is not None
    net = create_model("mobilenetv2_035")
    provenance = load_pretrained(net, variant)
    assert is_same(net.state_dict(), published)
    assert provenance.file == "net.pth"
    assert provenance.source == "test:net"
    assert provenance.sha256 == hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()


def test_another_number_of_classes_keeps_the_fresh_classifier_and_says_so(
    published: dict[str, Tensor],
) -> None:
    with pytest.warns(
        UserWarning, match=r"mobilenetv2_035: weights for 1000 classes.*10.*freshly initialised"
    ) as caught:
        net = create_model("mobilenetv2_035", num_classes=10, pretrained=True)
    assert caught[0].filename == __file__
    state = net.state_dict()
    assert state["classifier.1.weight"].shape == (10, 1280)
    assert all(
        torch.equal(state[key], published[key])
        for key in published
        if not key.startswith("classifier")
    )


def test_other_input_channels_are_an_error(published: dict[str, Tensor]) -> None:
    refused(
        lambda: create_model("mobilenetv2_035", in_channels=1, pretrained=True),
        "images of 3 channels, and the network takes 1",
    )


def test_another_width_is_an_error(published: dict[str, Tensor]) -> None:
    refused(
        lambda: create_model("mobilenetv2_035", width=0.5, pretrained=True),
        "does not fit",
        "different: features.2.conv.2.weight",
    )


def test_a_variant_without_published_weights(published: dict[str, Tensor]) -> None:
    with pytest.raises(
        WeightsUnavailable, match="no weights with a published digest are known for mobilenetv2_130"
    ) as caught:
        create_model("mobilenetv2_130", pretrained=True)
    assert "as `weights`" in caught.value.hint
    assert "`weights` random" in caught.value.hint
