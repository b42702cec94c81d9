"""The three ways of transfer: what moves, and what stays bit for bit as it was."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import edgekit
from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import InputError
from edgekit.images import InputSpec
from edgekit.models import create_model
from edgekit.sources import NetworkRequest, open_network
from edgekit.sources.run import RunDescription
from edgekit.training.augment import Augmentation
from edgekit.training.batches import Decoder, TrainingBatches, ValidationBatches
from edgekit.training.checkpoint import save_best
from edgekit.training.config import TrainConfig, Transfer
from edgekit.training.data import data_of_run
from edgekit.training.transfer import Frozen, parts, set_dropout, set_stochastic_depth

from . import networks


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network for 1,000 classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_file(create_model("mobilenetv2_035").state_dict(), path)
    return path


def moved(start: Path, run: Path) -> set[str]:
    """The tensors that training changed, by name."""
    before, after = load_file(start), load_file(run / "best.safetensors")
    assert before.keys() == after.keys()
    return {
        key
        for key in before
        if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }


def trained(transfer: Transfer, start: Path, data: Path, out: Path) -> set[str]:
    config = TrainConfig(epochs=1, batch=16, transfer=transfer, unfreeze=2, ema=False)
    edgekit.train("mobilenetv2_035", data=data, out=out, config=config, weights=start, size=32)
    return moved(start, out)


def test_head_moves_the_classifier_alone(start: Path, digits: Path, tmp_path: Path) -> None:
    assert trained("head", start, digits, tmp_path / "run") == {
        "classifier.1.weight",
        "classifier.1.bias",
    }


def test_last_moves_the_last_parts(start: Path, digits: Path, tmp_path: Path) -> None:
    """Their running statistics too; no other's."""
    found = trained("last", start, digits, tmp_path / "run")
    assert {key.rsplit(".", 1)[0].split(".")[1] for key in found if key.startswith("features")} == {
        "17",
        "18",
    }
    assert {"features.18.1.running_mean", "features.17.conv.3.running_var"} <= found


def test_all_moves_everything(start: Path, digits: Path, tmp_path: Path) -> None:
    found = trained("all", start, digits, tmp_path / "run")
    assert found >= {key for key in load_file(start) if not key.endswith("num_batches_tracked")}


def test_a_frozen_batch_norm_uses_its_own_statistics() -> None:
    module = create_model("mobilenetv2_035", num_classes=4)
    frozen = Frozen(module, TrainConfig(transfer="head"))
    frozen.train()
    images = torch.randn(4, 3, 32, 32)
    together = module.features(images)
    alone = torch.cat([module.features(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert module.training and module.classifier[0].training


@pytest.mark.parametrize(
    ("transfer", "stays"), [("head", {"conv", "norm"}), ("last", {"conv"}), ("all", set())]
)
def test_two_classifiers_are_trained_together(transfer: Transfer, stays: set[str]) -> None:
    """Both are new, so none of them may keep its random weights."""
    module = networks.Distilled()
    Frozen(module, TrainConfig(transfer=transfer, unfreeze=1))
    frozen = {name for name, tensor in module.named_parameters() if not tensor.requires_grad}
    assert {name.partition(".")[0] for name in frozen} == stays


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet", "shufflenetv2_x0_5"])
def test_the_parts_are_the_whole_network(name: str) -> None:
    module = create_model(name, num_classes=4)
    found = {id(p) for _, part in parts(module) for p in part.parameters()}
    assert found == {id(p) for p in module.parameters()}


def test_a_layer_called_aux_of_an_own_network(digits: Path, tmp_path: Path) -> None:
    """It is saved and exported, frozen with the others, and its dropout is set."""
    run, name = tmp_path / "run", f"{networks.__file__}:auxiliary"
    config = TrainConfig(epochs=1, batch=16)
    edgekit.train(name, data=digits, out=run, config=config, size=16)
    assert "auxiliary.0.weight" in load_file(run / "best.safetensors")
    assert edgekit.export(run, out=tmp_path / "bundle", bench=False).bundle
    module = networks.Auxiliary()
    set_dropout(module, 0.1)
    assert module.get_submodule("auxiliary.1").p == 0.1
    layers = nn.Sequential(OrderedDict(trunk=nn.Linear(8, 8), fc=nn.Linear(8, 3)))
    assert [name for name, _ in parts(layers)] == ["trunk", "fc"]
    layers = nn.Sequential(OrderedDict(auxiliary=nn.Linear(8, 8), fc=nn.Linear(8, 3)))
    Frozen(layers, TrainConfig(transfer="head"))
    assert [p.requires_grad for p in layers.parameters()] == [False, False, True, True]


def test_auxiliary_classifiers_of_the_zoo(tmp_path: Path) -> None:
    """They train with every transfer and keep their dropout; the saved weights lack them."""
    module = create_model("googlenet", num_classes=3, aux=True)
    set_dropout(module, 0.1)
    Frozen(module, TrainConfig(transfer="head"))
    assert module.get_submodule("aux1.dropout").p == 0.7
    assert all(p.requires_grad for p in module.get_submodule("aux2").parameters())
    entry = NetworkEntry(name="googlenet", origin="zoo")
    spec = InputSpec(3, 32, 32, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    weights = WeightsEntry(source="random", trained=False, seed=0)
    described = RunDescription(
        edgekit="0",
        builder="googlenet",
        network=entry,
        start=weights,
        input=spec,
        classes=("a", "b", "c"),
        data="d",
        config={},
    )
    save_best(tmp_path, module, described)
    saved = load_file(tmp_path / "best.safetensors")
    assert saved.keys() == create_model("googlenet", num_classes=3).state_dict().keys()


def test_the_stride_of_the_stem(digits: Path, tmp_path: Path) -> None:
    """The opened run has it too; the weights have the same keys and shapes."""
    config = TrainConfig(epochs=1, batch=16, stem_stride=1)
    run = tmp_path / "run"
    edgekit.train("shufflenetv2_x0_5", data=digits, out=run, config=config, weights="none", size=32)
    module = open_network(NetworkRequest(str(run))).module
    assert module is not None
    sizes: list[torch.Size] = []
    module.get_submodule("stage4").register_forward_hook(
        lambda layer, given, found: sizes.append(found.shape[2:])
    )
    module(torch.zeros(1, 3, 32, 32))
    assert sizes == [(2, 2)]
    assert len(edgekit.resume(run).epochs) == 1


def test_a_stem_that_has_this_stride_already(digits: Path, tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, stem_stride=1)
    with pytest.raises(edgekit.InputError, match="lenet5 has a first convolution of stride 1"):
        edgekit.train("lenet5", data=digits, out=tmp_path / "r", config=config, weights="none")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("size", "resize"), [(32, 1.0), (96, 256 / 224)])
def test_training_and_validation_see_the_same_part(
    digits: Path, tmp_path: Path, size: int, resize: float
) -> None:
    """Small images are never cropped. Without augmentation a training image is prepared as one for
    validation.
    """
    config = TrainConfig(epochs=1, batch=16, augment="none")
    run = tmp_path / "run"
    edgekit.train(
        "shufflenetv2_x0_5", data=digits, out=run, config=config, weights="none", size=size
    )
    spec = open_network(NetworkRequest(str(run))).input
    assert spec.resize == pytest.approx(resize)
    examples = data_of_run(run, ("a", "b", "c"), digits).validation
    augmentation = Augmentation(config, config.stages((size, size))[0], 3, spec.resize)
    batch = TrainingBatches(examples, spec, augmentation, Decoder(spec), len(examples), 0, 0)[0]
    wanted = ValidationBatches(examples, spec, len(examples))[0]
    order = np.random.default_rng((0, 0)).permutation(len(examples))
    assert torch.equal(batch.targets, wanted.targets[torch.from_numpy(order)])
    difference = (batch.images - wanted.images[torch.from_numpy(order)]).abs()
    assert float(difference.mean()) < 0.02  # 8-bit values are rounded in another place


@pytest.mark.parametrize(
    ("network", "option"), [("shufflenetv2_x0_5", "dropout"), ("lenet5", "stochastic_depth")]
)
def test_a_probability_without_a_layer_is_refused(
    digits: Path, tmp_path: Path, network: str, option: str
) -> None:
    config = TrainConfig(epochs=1, **{option: 0.2})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"`{option}` has no effect"):
        edgekit.train(
            network, data=digits, out=tmp_path / "run", config=config, weights="none", size=28
        )
    assert not (tmp_path / "run").exists()


def test_residual_branches_of_other_libraries_are_dropped() -> None:
    """Their layers have other names for the probability."""

    class StochasticDepth(nn.Module):
        p = 0.1

    class DropPath(nn.Module):
        drop_prob = 0.1

    module = nn.Sequential(StochasticDepth(), DropPath())
    set_stochastic_depth(module, 0.4)
    assert (module[0].p, module[1].drop_prob) == (0.2, 0.4)
