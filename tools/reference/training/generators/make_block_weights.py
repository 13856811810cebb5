"""Learning-rate weights, ranks and alphas of the UNet's blocks from --network_args, by sd-scripts' own functions: block_weights.json. Needs a checkout of
sd-scripts 0.6.4 in SD_SCRIPTS_DIR."""
import ast
import contextlib
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import List, Tuple

from common import options, write_json

FUNCTIONS = ["get_block_dims_and_alphas", "get_block_lr_weight", "remove_block_dims_and_alphas"]
ARGUMENTS = [
    {"down_lr_weight": "0,0,0.5,0.5,0.5,0.5,1,1,1,1,1.5,1.5", "mid_lr_weight": "2.0", "up_lr_weight": "1,1,1,1,1,1,0.5,0.5,0.5,0.5,0,0"},
    {"down_lr_weight": "cosine", "up_lr_weight": "sine"},
    {"down_lr_weight": "linear+.25", "mid_lr_weight": "0.1", "up_lr_weight": "reverse_linear+0.5"},
    {"up_lr_weight": "zeros+0.125"},
    {"down_lr_weight": "zeros", "mid_lr_weight": "0"},
    {"down_lr_weight": "linear", "up_lr_weight": "cosine", "block_lr_zero_threshold": "0.3"},
    {"mid_lr_weight": "0.05", "block_lr_zero_threshold": "0.1"},
    {"down_lr_weight": "0.5,,1", "up_lr_weight": "sine"},
    {"block_dims": ",".join(str(i % 7 + 1) for i in range(25)), "down_lr_weight": "1,0,1,0,1,0,1,0,1,0,1,0"},
    {"block_dims": ",".join(["4"] * 25), "block_alphas": ",".join(str(i / 2 + 0.5) for i in range(25)), "conv_block_dims": ",".join(str(i % 3 + 1) for i in range(25))},
    {"block_dims": ",".join(["2"] * 25), "conv_block_dims": ",".join(["3"] * 25), "conv_block_alphas": ",".join(["1.5"] * 25), "mid_lr_weight": "0"},
    {"block_dims": ",".join(["2"] * 25), "conv_dim": "5", "conv_alpha": "2", "up_lr_weight": "zeros"},
]


def functions() -> dict:
    source = (Path(os.environ["SD_SCRIPTS_DIR"]) / "networks" / "lora.py").read_text(encoding="utf-8")
    chosen = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS]
    scope = {"re": re, "List": List, "Tuple": Tuple, "LoRANetwork": SimpleNamespace(NUM_OF_BLOCKS=12)}
    exec(compile(ast.Module(chosen, []), "lora.py", "exec"), scope)
    return scope


def resolve(f: dict, given: dict, dim: int, alpha: float) -> dict:
    """As create_network does it, up to the network."""
    a = dict(given)
    conv_dim = int(a["conv_dim"]) if "conv_dim" in a else None
    conv_alpha = None if conv_dim is None else float(a.get("conv_alpha", 1.0))
    dims = f["get_block_dims_and_alphas"](a.get("block_dims"), a.get("block_alphas"), dim, alpha, a.get("conv_block_dims"), a.get("conv_block_alphas"),
                                          conv_dim, conv_alpha)
    numbers = lambda text: [(float(s) if s else 0.0) for s in text.split(",")] if text is not None and "," in text else text
    mid = None if a.get("mid_lr_weight") is None else float(a["mid_lr_weight"])
    weights = f["get_block_lr_weight"](numbers(a.get("down_lr_weight")), mid, numbers(a.get("up_lr_weight")), float(a.get("block_lr_zero_threshold", 0.0)))
    dims = f["remove_block_dims_and_alphas"](*dims, *weights)
    names = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
    return dict(zip(names, dims)) | dict(zip(("down_lr_weight", "mid_lr_weight", "up_lr_weight"), weights))


def main() -> None:
    args, f = options(__doc__), functions()
    with contextlib.redirect_stdout(io.StringIO()):
        cases = [{"network_args": given, "resolved": resolve(f, given, 8, 4.0)} for given in ARGUMENTS]
    write_json(args.out / "block_weights.json", {"network_dim": 8, "network_alpha": 4.0, "cases": cases})


if __name__ == "__main__":
    main()
