"""Peak memory and sizes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgekit.machine.memory import megabytes, peak_megabytes


def test_peak_is_the_kernels_high_water_mark(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(
        "VmPeak:\t 9 kB\nVmHWM:\t  1000000 kB\nVmRSS:\t 5 kB\n"
    )
    assert peak_megabytes(tmp_path) == 1024


def test_peak_without_proc_is_the_systems(tmp_path):
    assert peak_megabytes(tmp_path) == pytest.approx(peak_megabytes(), rel=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="others count otherwise")
def test_peak_grows_with_an_array():
    # In a process of its own, so that nothing else has set a higher mark.
    code = (
        "import numpy as np; from edgekit.machine.memory import *\n"
        "before = peak_megabytes(); array = np.ones(12_500_000); print(peak_megabytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(100, abs=10)


def test_sizes_of_a_file_and_of_a_folder(tmp_path):
    (tmp_path / "engines").mkdir()
    (tmp_path / "model.onnx").write_bytes(bytes(1_500_000))
    np.zeros(62_500).tofile(tmp_path / "engines/a.plan")
    assert megabytes(tmp_path / "model.onnx") == 1.5
    assert megabytes(tmp_path) == 2.0
    with pytest.raises(FileNotFoundError):
        megabytes(tmp_path / "missing")
