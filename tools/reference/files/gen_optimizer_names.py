"""What sd-scripts calls its optimizers in metadata: optimizer_names.json.

    SD_SCRIPTS_DIR=... python gen_optimizer_names.py [--out DIR]

Needs a checkout of sd-scripts v0.7.0, the first with all of these optimizers, torch 1.13, transformers 4.26.1, dadaptation 3.1, prodigyopt 1.0, lion-pytorch
0.0.7, bitsandbytes 0.41.1. `get_optimizer` is taken from its source and run; the text is put together as train_network.py does. A case is the flags, what
ss_optimizer is, and the flags that the function changes (AdaFactor's).
"""
import argparse
import ast
import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers

from common import options, quiet, write_json

CASES = [(name, []) for name in (
    "", "AdamW", "AdamW8bit", "PagedAdamW8bit", "Lion", "SGDNesterov", "DAdaptation", "DAdaptAdamPreprint", "DAdaptAdam", "DAdaptAdan",
    "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD", "AdaFactor", "Prodigy")] + [
    ("adamw", ["weight_decay=0.01", "betas=0.9,0.99"]),
    # Its default for eps is one that it refuses itself.
    ("DAdaptAdaGrad", ["eps=1e-6"]),
    ("LION", ["betas=(0.95, 0.98)"]),
    ("SGDNesterov", ["momentum=0.5", "weight_decay=1e-5"]),
    ("SGDNesterov", ["weight_decay=0.1"]),
    ("Prodigy", ["decouple=True", "use_bias_correction=True", "d0=1e-6", "beta3=None"]),
    ("AdaFactor", ["scale_parameter=False", "relative_step=False", "warmup_init=False"]),
    ("AdaFactor", ["warmup_init=True", "relative_step=False"]),
    ("adafactor", ["scale_parameter=False"]),
]


def function():
    source = (Path(os.environ["SD_SCRIPTS_DIR"]) / "library/train_util.py").read_text(encoding="utf-8")
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "get_optimizer")
    scope = {"torch": torch, "transformers": transformers, "ast": ast, "importlib": importlib, "argparse": argparse}
    exec(compile(ast.Module([node], []), "train_util.py", "exec"), scope)
    return scope["get_optimizer"]


def main():
    args, get_optimizer, rows = options(__doc__), function(), []
    for name, extra in CASES:
        flags = SimpleNamespace(optimizer_type=name, optimizer_args=extra, use_8bit_adam=False, use_lion_optimizer=False, learning_rate=1e-3, unet_lr=1e-3,
                                text_encoder_lr=5e-4, lr_scheduler="constant", max_grad_norm=1.0)
        weights = [{"params": [torch.nn.Parameter(torch.zeros(4, 4))], "lr": 1e-3}]
        with quiet():
            optimizer, arguments, _ = get_optimizer(flags, weights)
        rows.append({
            "type": name, "args": extra, "ss_optimizer": optimizer + (f"({arguments})" if len(arguments) > 0 else ""),
            "ss_learning_rate": str(flags.learning_rate), "ss_unet_lr": str(flags.unet_lr), "ss_text_encoder_lr": str(flags.text_encoder_lr),
            "ss_lr_scheduler": flags.lr_scheduler,
        })
    write_json(os.path.join(args.out, "optimizer_names.json"),
               {"flags": {"learning_rate": 1e-3, "unet_lr": 1e-3, "text_encoder_lr": 5e-4, "lr_scheduler": "constant"}, "cases": rows})


main()
