"""Started by torchrun: trains, then tries what must be refused in every process."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

import edgekit
from edgekit.cli.app import execute

CONFIG = edgekit.TrainConfig(
    epochs=2, batch=12, augment="none", dropout=0.0, workers=0, seed=3, corrupt=0.2
)


def main(data: Path, damaged: Path, almost: Path, out: Path) -> None:
    torch.set_num_threads(1)
    long = replace(CONFIG, epochs=6, corrupt=0.15)
    edgekit.train("lenet5", data=almost, out=out / "long", config=long, weights="none")
    edgekit.train("lenet5", data=data, out=out / "run", config=CONFIG, weights="none")
    told = out / f"process {os.environ['RANK']}.txt"
    with told.open("w") as sys.stderr:
        codes = [
            execute([*f"train lenet5 --weights none --epochs 1 --batch {batch}".split(),
                     "--data", str(data), "--val", "0.9", "--out", str(out / place)])
            for batch, place in ((3, "small"), (64, "few"), (4, "run"))
        ]  # fmt: skip
        try:
            edgekit.train("lenet5", data=damaged, out=out / "bad", config=CONFIG, weights="none")
        except edgekit.InputError as error:
            print(error.message, file=sys.stderr)
    assert codes == [2, 2, 2], codes


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
