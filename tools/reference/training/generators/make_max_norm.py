"""What --scale_weight_norms does to a network's weights, by sd-scripts' own function: max_norm.*. Needs a checkout of sd-scripts 0.7.0 in SD_SCRIPTS_DIR, the first
release series that has it."""
import ast
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from common import options, write_json, write_tensors
from weights import uniform

MODULES = {  # rank, alpha, down, up
    "lora_unet_a": (4, 2.0, (4, 10), (7, 4)),
    "lora_unet_b": (3, 3.0, (3, 5, 1, 1), (6, 3, 1, 1)),
    "lora_unet_c": (2, 1.0, (2, 4, 3, 3), (5, 2, 1, 1)),
    "lora_unet_d": (5, 0.5, (5, 33), (70, 5)),
}
LIMITS = (0.5, 3.2, 100.0)


def method():
    source = (Path(os.environ["SD_SCRIPTS_DIR"]) / "networks" / "lora.py").read_text(encoding="utf-8")
    network = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "LoRANetwork")
    chosen = [node for node in network.body if isinstance(node, ast.FunctionDef) and node.name == "apply_max_norm_regularization"]
    scope = {"torch": torch}
    exec(compile(ast.Module(chosen, []), "lora.py", "exec"), scope)
    return scope["apply_max_norm_regularization"]


def main() -> None:
    args, apply = options(__doc__), method()
    tensors, figures = {}, []
    for limit in LIMITS:
        state = {}
        for name, (_, alpha, down, up) in MODULES.items():
            state[f"{name}.alpha"] = torch.tensor(alpha)
            for key, shape in (("lora_down", down), ("lora_up", up)):
                count = torch.Size(shape).numel()
                state[f"{name}.{key}.weight"] = torch.from_numpy(uniform(f"max_norm.{name}.{key}", count, args.salt).reshape(shape))
        scaled, mean, largest = apply(SimpleNamespace(state_dict=lambda: state), limit, "cpu")
        figures.append({"limit": limit, "keys_scaled": scaled, "average_key_norm": mean, "max_key_norm": largest})
        tensors |= {f"{limit}.{key}": value for key, value in state.items() if not key.endswith("alpha")}
    modules = {name: {"rank": rank, "alpha": alpha, "down": down, "up": up} for name, (rank, alpha, down, up) in MODULES.items()}
    write_tensors(args.out / "max_norm.safetensors", tensors)
    write_json(args.out / "max_norm.json", {"modules": modules, "cases": figures})


if __name__ == "__main__":
    main()
