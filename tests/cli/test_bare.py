"""A machine without torch, onnx and onnxruntime: everything except the export works, and the export
says what is missing.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

HEAVY = (
    "torch",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "onnxsim",
    "tensorrt",
    "tensorrt_rtx",
    "safetensors",
    "ml_dtypes",
    "matplotlib",
    "jinja2",
)

HIDE = f"""
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {HEAVY} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path = [Hiding(finder) for finder in sys.meta_path]
from edgekit.cli.app import execute
"""


def _python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_module_imports_on_a_bare_machine() -> None:
    done = _python(
        HIDE
        + """
import importlib, pkgutil
import edgekit
names = [module.name for module in pkgutil.walk_packages(edgekit.__path__, "edgekit.")]
needing = ("edgekit.graph", "edgekit.quantization", "edgekit.training")
needing += ("edgekit.layerwise.graph_values",)
names = [n for n in names if not n.startswith((*needing, "edgekit.models.", "edgekit.__main__"))]
names += [f"edgekit.models.{n}" for n in ("catalog", "registry", "variant")] + ["edgekit.calib"]
names += [f"edgekit.models.pretrained.{n}" for n in ("weights", "download", "http")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_the_hidden_packages_cannot_be_imported() -> None:
    assert "ModuleNotFoundError" in _python(HIDE + "import torch").stderr


def test_every_help_and_what_needs_no_torch_runs_on_a_bare_machine() -> None:
    done = _python(
        HIDE
        + """
from edgekit.cli.app import app
verbs = [command.name for command in app.registered_commands]
assert len(verbs) > 10
for verb in verbs:
    assert execute([verb, "--help"]) == 0, verb
for arguments in (["--help"], ["zoo"], ["zoo", "--json"], ["doctor"], ["doctor", "--json"]):
    assert execute(arguments) == 0, arguments
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "not installed" in done.stdout


def test_a_missing_package_is_named_with_its_extra() -> None:
    done = _python(
        HIDE
        + 'print([execute(a) for a in (["export", "lenet", "--weights", "random"], ["zoo", "show", '
        '"lenet"], ["export", "x.onnx"])])'
    )
    assert done.stdout == "[3, 3, 3]\n"
    assert done.stderr.count("hint: pip install 'edgekit[export]'") == 3
    assert "error: this needs torch, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_light_commands_import_no_heavy_package() -> None:
    done = _python(
        f"""
import sys
from edgekit.cli.app import execute
listing = (["--help"], ["export", "--help"], ["zoo"], ["zoo", "--json"], ["doctor"])
for arguments in (*listing, ["verify", "nowhere"], ["run", "nowhere", "x.jpg"], ["bench", "nowhere"]):
    execute(arguments)
    heavy = sorted(set({HEAVY}) & set(sys.modules))
    assert not heavy, (arguments, heavy)
"""
    )
    assert done.returncode == 0, done.stderr
