"""Print, as JSON lines, what torch.load makes of a checkpoint: each tensor's type, shape and the SHA-256 of its bytes.

Usage: python3 read_checkpoint.py FILE. Loads twice, with and without weights_only; only for files of your own.
"""
import hashlib
import json
import sys

import torch


def rows(value, path=()):
    if isinstance(value, torch.Tensor):
        plain = value.detach().contiguous()
        raw = (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy().tobytes()
        yield {"key": path, "dtype": str(value.dtype), "shape": list(value.shape), "sha256": hashlib.sha256(raw).hexdigest()}
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from rows(inner, path + (key,))
    else:
        yield {"key": path, "value": value}


found = [list(rows(torch.load(sys.argv[1], map_location="cpu", weights_only=only))) for only in (True, False)]
assert found[0] == found[1], "weights_only gives something else"
print(json.dumps({"torch": torch.__version__}))
for row in found[0]:
    print(json.dumps(row, ensure_ascii=False))
