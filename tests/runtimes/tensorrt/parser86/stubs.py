"""Empty implementations of TensorRT 8.6's virtual interfaces, generated from its NvInferImpl.h:
``python stubs.py NvInferImpl.h > stubs.h``.

What returns a pointer returns null and says so, since the parser takes that for an answer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CLASS = re.compile(r"^class (V\w+) : public VRoot\s*\{(.*?)^\};", re.DOTALL | re.MULTILINE)
METHOD = re.compile(
    r"virtual\s+([^;{}]+?)\b(\w+)\s*\(([^;{}]*?)\)\s*(const)?\s*noexcept\s*=\s*0;", re.DOTALL
)


def stubs(header: str) -> Iterator[str]:
    for name, body in CLASS.findall(header):
        yield f"struct Empty{name} : apiv::{name} {{"
        for result, method, parameters, const in METHOD.findall(body):
            signature = " ".join(
                f"{result}{method}({parameters}) {const} noexcept override".split()
            )
            yield f"  {signature} {{ {_answer(result.strip(), method)} }}"
        yield "};"


def _answer(result: str, method: str) -> str:
    if result == "void":
        return ""
    if result.endswith("&"):
        return f'missing("{method}"); std::abort();'
    if result.endswith("*"):
        return f'missing("{method}"); return nullptr;'
    return "return {};"


if __name__ == "__main__":
    print("\n".join(stubs(Path(sys.argv[1]).read_text(encoding="utf-8"))))
