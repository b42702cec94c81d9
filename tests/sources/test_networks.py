"""The user's network: a name of the zoo, a factory, and wrong input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgekit.errors import BadNetwork, BadWeights, EdgekitError, InputError, UnknownNetwork
from edgekit.sources import NetworkRequest, imagenet_labels, open_network, read_labels

FACTORIES = Path(__file__).parents[1] / "cli" / "factories.py"

WORKS = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def call(source: str, name: str = "mynet.py") -> Path:
        (tmp_path / name).write_text(source)
        return tmp_path / name

    return call


Write = Callable[..., Path]


def _state(request: NetworkRequest) -> dict[str, torch.Tensor]:
    module = open_network(request).module
    assert module is not None
    return dict(module.state_dict())


# ---- the zoo


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenet_v2", "MobileNet-V2", "MOBILENETV2"])
def test_spellings_are_one_name(name: str) -> None:
    network = open_network(NetworkRequest(name, "random"))
    assert network.entry.name == "mobilenetv2"
    assert network.slug == "mobilenetv2"
    assert network.reference == "torch"
    assert network.labels == imagenet_labels()


@pytest.mark.parametrize("name", ["mobilenet", "resnet", "mobilenetv22", "../mobilenetv2x"])
def test_a_near_match_is_named_and_never_substituted(name: str) -> None:
    with pytest.raises(UnknownNetwork, match="unknown network") as caught:
        open_network(NetworkRequest(name, "random"))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean ")


def test_a_seed_gives_the_same_weights_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, two, other = (_state(NetworkRequest("lenet", f"random:{seed}")) for seed in (7, 7, 8))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_random_weights_say_so() -> None:
    weights = open_network(NetworkRequest("lenet", "random:7")).weights
    assert (weights.source, weights.trained, weights.seed) == ("random", False, 7)


def test_a_file_says_its_hash(tmp_path: Path) -> None:
    state = _state(NetworkRequest("lenet", "random:5"))
    torch.save(state, tmp_path / "mine.pth")
    network = open_network(NetworkRequest("lenet", str(tmp_path / "mine.pth")))
    assert (network.weights.source, network.weights.trained, network.weights.file) == (
        "file",
        True,
        "mine.pth",
    )
    assert network.weights.sha256 is not None
    assert len(network.weights.sha256) == 64
    assert network.module is not None
    assert all(torch.equal(value, state[key]) for key, value in network.module.state_dict().items())


def test_size_mean_and_std_are_the_users() -> None:
    spec = open_network(
        NetworkRequest("mobilenetv2_035", "random", (48, 64), (0.1,) * 3, (0.2,) * 3)
    ).input
    assert (spec.height, spec.width, spec.mean, spec.std) == (48, 64, (0.1,) * 3, (0.2,) * 3)


# ---- factories


def test_a_factory(write: Write) -> None:
    network = open_network(NetworkRequest(f"{write(WORKS)}:build", size=(32, 48)))
    assert (network.entry.name, network.entry.origin, network.weights.source) == (
        "mynet",
        "factory",
        "factory",
    )
    assert network.input.shape(1) == (1, 3, 32, 48)
    assert network.labels is None
    assert network.notes[0].startswith("the preprocessing of mynet.py:build is unknown")


@pytest.mark.parametrize("given", [{"mean": (0.1,) * 3}, {"std": (0.2,) * 3}])
def test_half_of_a_normalization_is_completed_with_a_warning(
    write: Write, given: dict[str, tuple[float, ...]]
) -> None:
    network = open_network(NetworkRequest(f"{write(WORKS)}:build", size=(32, 48), **given))
    assert (
        "assuming mean" in network.notes[0]
        and str(next(iter(given.values()))) in (network.notes[0])
    )


def test_no_numbers_are_not_the_default(write: Write) -> None:
    with pytest.raises(InputError, match="mean"):
        open_network(NetworkRequest(f"{write(WORKS)}:build", size=(32, 48), mean=(), std=()))


def test_a_factory_may_import_what_lies_beside_it_when_it_likes(write: Write) -> None:
    write("classes = 5", "beside_it.py")
    late = WORKS.replace(
        "    return",
        "    import beside_it\n    assert beside_it.classes == 5\n    import sys\n    "
        "sys.path.clear()\n    return",
    )
    before = list(sys.path)
    try:
        open_network(NetworkRequest(f"{write(late)}:build", size=(32, 32)))
        assert sys.path == before
    finally:
        sys.modules.pop("beside_it", None)


def test_a_grey_factory(write: Write) -> None:
    spec = open_network(
        NetworkRequest(f"{write(WORKS.replace('Conv2d(3', 'Conv2d(1'))}:build", size=(28, 28))
    ).input
    assert (spec.channels, spec.mean, spec.std) == (1, (0.5,), (0.5,))


def test_a_lazy_factory_takes_colour() -> None:
    network = open_network(NetworkRequest(f"{FACTORIES}:lazy", size=(32, 32)))
    assert network.input.channels == 3
    assert network.module is not None
    assert network.module(torch.zeros(1, 3, 32, 32)).shape == (1, 8)


def test_a_factory_of_a_thousand_classes_has_imagenets_names(write: Write) -> None:
    network = open_network(
        NetworkRequest(
            f"{write(WORKS.replace('Linear(4, 5)', 'Linear(4, 1000)'))}:build", size=(32, 32)
        )
    )
    assert network.labels is not None
    assert len(network.labels) == 1000


def test_a_checkpoint_into_a_factory(write: Write, tmp_path: Path) -> None:
    name = f"{write(WORKS)}:build"
    state = {
        key: torch.ones_like(value)
        for key, value in _state(NetworkRequest(name, size=(32, 32))).items()
    }
    torch.save(state, tmp_path / "mine.pth")
    loaded = _state(NetworkRequest(name, str(tmp_path / "mine.pth"), (32, 32)))
    assert all(bool((value == 1).all()) for value in loaded.values())
    with pytest.raises(BadWeights, match=r"none\.pth: no such file"):
        open_network(NetworkRequest(name, str(tmp_path / "none.pth"), (32, 32)))


FACTORY_ERRORS: list[tuple[str, type[EdgekitError], str, str | None]] = [
    (
        "raises",
        BadNetwork,
        r"factories.py:raises raised ValueError: the weights are on another disk \(line \d+\)",
        None,
    ),
    ("exits", BadNetwork, "factories.py:exits raised SystemExit: 0", None),
    (
        "needs_argument",
        BadNetwork,
        "factories.py:needs_argument raised TypeError: .*missing 1 required positional argument",
        None,
    ),
    (
        "state_dict",
        BadNetwork,
        "factories.py:state_dict returned dict, not a torch.nn.Module",
        "return the network itself",
    ),
    (
        "returns_none",
        BadNetwork,
        "factories.py:returns_none returned NoneType, not a torch.nn.Module",
        "return the network itself",
    ),
    (
        "two_outputs",
        BadNetwork,
        "two_outputs returns a tuple, not one tensor of logits",
        "in evaluation mode, return only the logits",
    ),
    (
        "feature_map",
        BadNetwork,
        r"feature_map returns a tensor of shape \(1, 8, 30, 30\); a classifier returns \(images, "
        r"classes\)",
        None,
    ),
    (
        "five_channels",
        BadNetwork,
        "the first convolution takes 5 channels; images have 1 or 3",
        None,
    ),
    (
        "breaks_in_forward",
        BadNetwork,
        r"breaks_in_forward cannot run on one image \(1, 3, 32, 32\): RuntimeError: ",
        "`size` sets height and width",
    ),
    ("nowhere", BadNetwork, "factories.py has no function nowhere", "it has Tiny, build, "),
    (
        "not_callable",
        BadNetwork,
        "factories.py has no function not_callable",
        "it has Tiny, build, ",
    ),
]


@pytest.mark.parametrize(
    ("function", "error", "message", "hint"), FACTORY_ERRORS, ids=[row[0] for row in FACTORY_ERRORS]
)
def test_a_factory_that_gives_no_network(
    function: str, error: type[EdgekitError], message: str, hint: str | None
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_network(NetworkRequest(f"{FACTORIES}:{function}", size=(32, 32)))
    assert caught.value.exit_code == 2
    assert (caught.value.hint or "").startswith(hint or "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(:\n", r"mynet.py cannot be imported: SyntaxError: .*\(mynet.py, line 1\)"),
        (
            "import nothing_of_that_name\n",
            "mynet.py cannot be imported: ModuleNotFoundError: No module named "
            "'nothing_of_that_name' .line 1",
        ),
        ("x = 1\nraise SystemExit(3)\n", r"mynet.py cannot be imported: SystemExit: 3 \(line 2\)"),
        ("\x00", "mynet.py cannot be imported: (SyntaxError|ValueError): source code"),
        ("def f():\n    return f()\nf()\n", "mynet.py cannot be imported: RecursionError"),
    ],
)
def test_a_file_that_cannot_be_imported(write: Write, source: str, message: str) -> None:
    with pytest.raises(BadNetwork, match=message):
        open_network(NetworkRequest(f"{write(source)}:build"))


def test_wrong_factory_names(write: Write, tmp_path: Path) -> None:
    file = write(WORKS)
    with pytest.raises(InputError, match="no factory function given") as caught:
        open_network(NetworkRequest(str(file)))
    assert caught.value.hint == f"add the function after a colon: {file}:build"
    with pytest.raises(InputError, match="no factory function given"):
        open_network(NetworkRequest(f"{file}:"))
    with pytest.raises(BadNetwork, match=r"none\.py: no such file"):
        open_network(NetworkRequest(f"{tmp_path / 'none.py'}:build"))
    with pytest.raises(InputError, match="edgekit has no pretrained weights"):
        open_network(NetworkRequest(f"{file}:build", "pretrained"))
    with pytest.raises(InputError, match="3 channels need as many means"):
        open_network(NetworkRequest(f"{file}:build", size=(32, 32), mean=(0.5,)))


# ---- labels


def test_labels_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffchat\r\nÉlan \n\nloup\n\n\n".encode())
    assert read_labels(file) == ("chat", "Élan", "", "loup")


def test_imagenets_names() -> None:
    names = imagenet_labels()
    assert len(names) == 1000
    assert "goldfish" in names[1]
    assert "toilet tissue" in names[999]
