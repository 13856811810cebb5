"""Makes tests/golden/lora_tools/resize.json: python resize_lora.py ../../tests/golden/lora_tools/resize.json

Needs numpy (2.x). The rank rules are those of sd-scripts' networks/resize_lora.py (index_sv_ratio, index_sv_fro, index_sv_cumulative,
rank_resize), with numpy's functions in the place of torch's of the same names. Everything is computed on the full product, in f64.
"""
import json
import sys

import numpy as np


def index_cumulative(numbers, target):
    return int(np.searchsorted(np.cumsum(numbers) / np.sum(numbers), target)) + 1


def new_rank(S, rank, method, target):
    if method == "sv_ratio":
        index = int(np.sum(S > S[0] / target))
    elif method == "sv_fro":
        index = index_cumulative(S**2, target**2)
    else:
        index = index_cumulative(S, target)
    return min(max(1, min(index, len(S) - 1)) + 1, rank)


random = np.random.default_rng(7)
cases = []
for out_size, in_size, rank in [(10, 8, 5), (6, 20, 4), (3, 9, 7)]:
    up = random.normal(size=(out_size, rank)).astype(np.float32)
    down = (random.normal(size=(rank, in_size)) * (0.4 ** np.arange(rank))[:, None]).astype(np.float32)
    U, S, Vh = np.linalg.svd(up.astype(np.float64) @ down.astype(np.float64), full_matrices=False)
    rules = [
        {"method": method, "target": target, "rank": new_rank(S, 64, method, target)}
        for method, targets in {"sv_ratio": [2, 5, 30], "sv_fro": [0.7, 0.9, 0.99], "sv_cumulative": [0.5, 0.8, 0.95]}.items()
        for target in targets
    ]
    cases.append(
        {
            "up": up.tolist(),
            "down": down.tolist(),
            "singular_values": S.tolist(),
            "rules": rules,
            "rank_2": ((U[:, :2] * S[:2]) @ Vh[:2]).tolist(),
            "norm_kept_2": float(np.linalg.norm(S[:2]) / np.linalg.norm(S)),
            "sum_kept_2": float(S[:2].sum() / S.sum()),
        }
    )
json.dump({"numpy": np.__version__, "cases": cases}, open(sys.argv[1], "w"))
