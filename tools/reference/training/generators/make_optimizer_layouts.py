"""What optimizers/ leaves open: tensors of convolutions, whose order counts for Adafactor and for 8-bit blocks, and DAdaptAdanIP: optimizers/layouts.*"""
import numpy as np
import torch
from adamw8bit import AdamW8bit
from common import options, write_json, write_tensors
from dadaptation.experimental.dadapt_adan_ip import DAdaptAdanIP
from make_optimizers import STEPS, gradient, parameter
from transformers.optimization import Adafactor

# A 3x3 down projection, a 1x1 up projection, a linear layer's.
SHAPES = {"e": (16, 32, 3, 3), "f": (24, 5, 1, 1), "g": (6, 40)}
RUNS = {
    "adafactor_layouts": (Adafactor, dict(lr=None, scale_parameter=True, relative_step=True, warmup_init=False)),
    "adafactor_layouts_options": (Adafactor, dict(lr=1e-2, scale_parameter=True, relative_step=False, warmup_init=False, beta1=0.9, weight_decay=0.1,
                                                  clip_threshold=0.5)),
    "dadapt_adan_ip": (DAdaptAdanIP, dict(lr=1.0, d0=1e-4)),
    "dadapt_adan_ip_options": (DAdaptAdanIP, dict(lr=1.0, d0=1e-4, betas=(0.9, 0.8, 0.95), weight_decay=0.1, no_prox=True, growth_rate=1.5)),
}


def run(name: str, salt: int) -> tuple:
    maker, arguments = RUNS[name]
    tensors = {n: torch.from_numpy(parameter(n, s, salt)).requires_grad_(True) for n, s in SHAPES.items()}
    optimizer, d = maker(list(tensors.values()), **arguments), []
    for step in range(1, STEPS + 1):
        for n, p in tensors.items():
            p.grad = torch.from_numpy(gradient(n, SHAPES[n], step, salt))
        optimizer.step()
        if "d" in optimizer.param_groups[0]:
            d.append(float(optimizer.param_groups[0]["d"]))
    about = {"class": f"{maker.__module__.split('.')[0]}.{maker.__name__}", "arguments": arguments} | ({"d": d} if d else {})
    return {f"{name}.{n}": p for n, p in tensors.items()}, about


def run_8bit(salt: int) -> dict:
    found = {}
    for n, shape in SHAPES.items():
        p, optimizer = parameter(n, shape, salt).ravel(), AdamW8bit(int(np.prod(shape)))
        for step in range(1, STEPS + 1):
            p = optimizer.step(p, gradient(n, shape, step, salt).ravel())
        found[f"adamw8bit_layouts.{n}"] = p.reshape(shape)
    return found


def main() -> None:
    args = options(__doc__)
    tensors, about = run_8bit(args.salt), {}
    for name in RUNS:
        result, about[name] = run(name, args.salt)
        tensors |= result
    about["adamw8bit_layouts"] = {"class": "bitsandbytes 0.35 AdamW8bit (NumPy)", "arguments": dict(lr=1e-3)}
    write_tensors(args.out / "optimizers" / "layouts.safetensors", tensors)
    write_json(args.out / "optimizers" / "layouts.json", about)


if __name__ == "__main__":
    main()
