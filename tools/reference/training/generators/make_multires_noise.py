"""Noise of several resolutions by sd-scripts 0.6.4: multires_noise.json. Needs its checkout in SD_SCRIPTS_DIR, from whose source the function is taken.

Its two sources of chance are replaced: ratios come from a list, and each level's noise is by rule, named for its place. Everything else is PyTorch's."""
import ast
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from common import options, write_json
from weights import uniform

CASES = [
    {"shape": [2, 4, 8, 12], "iterations": 6, "discount": 0.3, "draws": [0.9, 0.25, 0.5, 0.1, 0.7, 0.3]},
    {"shape": [1, 4, 13, 9], "iterations": 2, "discount": 0.8, "draws": [0.0, 0.999]},
    {"shape": [1, 4, 16, 16], "iterations": 10, "discount": 0.5, "draws": [0.5, 0.0, 0.0, 0.9]},
]


def function() -> ast.FunctionDef:
    source = (Path(os.environ["SD_SCRIPTS_DIR"]) / "library/custom_train_functions.py").read_text(encoding="utf-8")
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "pyramid_noise_like")


def main() -> None:
    args = options(__doc__)
    for at, case in enumerate(CASES):
        draws, sizes = iter(case["draws"]), []

        def randn(*shape):
            sizes.append(list(shape[2:]))
            return torch.from_numpy(uniform(f"multires.{at}.{len(sizes) - 1}", torch.Size(shape).numel(), args.salt).reshape(shape))

        scope = {"torch": SimpleNamespace(nn=torch.nn, randn=randn), "random": SimpleNamespace(random=lambda: next(draws))}
        exec(compile(ast.Module([function()], []), "custom_train_functions.py", "exec"), scope)
        noise = torch.from_numpy(uniform(f"multires.{at}", torch.Size(case["shape"]).numel(), args.salt).reshape(case["shape"]))
        found = scope["pyramid_noise_like"](noise, "cpu", case["iterations"], case["discount"])
        case |= {"sizes": sizes, "noise": [round(float(value), 6) for value in found.flatten()]}
    write_json(args.out / "multires_noise.json", CASES)


if __name__ == "__main__":
    main()
