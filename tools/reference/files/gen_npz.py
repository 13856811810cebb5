"""Latents in .npz files as sd-scripts writes them: tests/golden/files/npz. Needs numpy alone.

    python gen_npz.py [--out DIR]

Written by the calls of sd-scripts: 0.6.4's `np.savez(path, latent)` with a file of its own for the mirrored picture (finetune/prepare_buckets_latents.py,
train_util.cache_latents), and those of its later releases (train_util.save_latents_to_disk, strategy_base.LatentsCachingStrategy). Values are by rule:
latents of size [4, height, width] of the name N hold channel + row / 10 + column / 100, plus 1000 where the picture is mirrored.
"""
import argparse
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[3] / "tests/golden/files/npz")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)


def latents(height, width, flipped=False, dtype=np.float32):
    channel, row, column = np.meshgrid(np.arange(4), np.arange(height), np.arange(width), indexing="ij")
    return (channel + row / 10 + column / 100 + 1000 * flipped).astype(dtype)


# 0.6.4
np.savez(out / "old.npz", latents(8, 6))
np.savez(out / "old_flip.npz", latents(8, 6, flipped=True))
np.savez(out / "alone.npz", latents(8, 6))
# Later: one file, named for the picture's size where --cache_latents_to_disk wrote it.
sizes = {"original_size": np.array([100, 130]), "crop_ltrb": np.array([0, 0, 48, 64])}
np.savez(out / "new.npz", latents=latents(8, 6), latents_flipped=latents(8, 6, flipped=True), **sizes)
np.savez(out / "sized_0096x0128_sd.npz", latents=latents(8, 6), **sizes)
# Other ways to store the same.
np.savez_compressed(out / "packed.npz", latents=latents(8, 6), **sizes)
np.savez(out / "half.npz", latents=latents(2, 3, dtype=np.float16), **sizes)
np.savez(out / "double.npz", latents=latents(2, 3, dtype=np.float64), **sizes)
# What cannot be used.
np.savez(out / "bad_fortran.npz", np.asfortranarray(latents(2, 3)))
np.savez(out / "bad_integers.npz", np.arange(24).reshape(4, 2, 3))
np.savez(out / "bad_channels.npz", np.zeros((3, 2, 3), np.float32))
np.savez(out / "bad_nothing.npz", text_encoder_outputs=np.zeros((2, 2), np.float32))
