"""Losses of sd-scripts' later releases, and the noise schedule with zero terminal SNR: losses.json. Needs a checkout of sd-scripts (commit 48d368fa) in
SD_SCRIPTS_DIR, whose functions are taken from its source one by one, so that nothing else of it has to be installed."""
import ast
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import numpy as np
import torch
from common import options, write_json
from weights import uniform

TIMESTEPS = [0, 1, 250, 600, 998, 999]


def functions_of(file: str, names: list) -> dict:
    source = (Path(os.environ["SD_SCRIPTS_DIR"]) / file).read_text(encoding="utf-8")
    chosen = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in names]
    scope = {"torch": torch, "math": math, "Optional": Optional, "logger": SimpleNamespace(info=lambda text: None)}
    exec(compile(ast.Module(chosen, []), file, "exec"), scope)
    return scope


def main() -> None:
    args = options(__doc__)
    train_util = functions_of("library/train_util.py", ["conditional_loss", "get_huber_threshold_if_needed"])
    custom = functions_of("library/custom_train_functions.py", ["fix_noise_scheduler_betas_for_zero_terminal_snr"])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    scheduler = SimpleNamespace(betas=betas, alphas_cumprod=torch.cumprod(1 - betas, 0), config=SimpleNamespace(num_train_timesteps=1000))
    timesteps, shape = torch.tensor(TIMESTEPS), (len(TIMESTEPS), 4, 2, 3)
    prediction, target = (torch.from_numpy(uniform(f"losses.{name}", math.prod(shape), args.salt).reshape(shape)) for name in ("prediction", "target"))
    cases = []
    for loss_type, schedule, huber_c in [("l2", "snr", 0.1), ("l1", "snr", 0.1)] + [
            (t, s, c) for t in ("huber", "smooth_l1") for s in ("snr", "exponential", "constant") for c in (0.1, 0.5)]:
        settings = SimpleNamespace(loss_type=loss_type, huber_schedule=schedule, huber_c=huber_c, huber_scale=1.0)
        threshold = train_util["get_huber_threshold_if_needed"](settings, timesteps, scheduler)
        loss = train_util["conditional_loss"](prediction, target, loss_type, "none", threshold).mean([1, 2, 3])
        cases.append({"loss_type": loss_type, "huber_schedule": schedule, "huber_c": huber_c, "losses": [float(x) for x in loss]}
                     | ({} if threshold is None else {"thresholds": [float(x) for x in threshold]}))
    custom["fix_noise_scheduler_betas_for_zero_terminal_snr"](scheduler)
    write_json(args.out / "losses.json", {"shape": list(shape), "timesteps": TIMESTEPS, "cases": cases,
                                          "zero_terminal_alphas_cumprod": [float(x) for x in scheduler.alphas_cumprod[::37]]})


if __name__ == "__main__":
    main()
