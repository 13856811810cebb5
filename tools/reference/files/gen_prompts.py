"""How sd-scripts 0.6.4 reads a file of prompts while training, and what it calls the pictures: prompts.json.

    SD_SCRIPTS_DIR=... python gen_prompts.py [--out DIR]

`sample_images` itself is run, with a pipeline that makes no pictures and tells what it was asked for. The time in names is 14:15:16 on 12 November 2023.
"""
import os
import tempfile
from types import SimpleNamespace
from unittest import mock

import torch

from common import options, quiet, upstream, write_json

TEXT = """# a comment
a cat, sitting --n blurry, low--quality --w 768 --h 644 --d 7 --l 4.5 --s 28

   # a comment behind blanks
  a dog, (red hat:1.2)
a bird --W 70 --H 63 --S 1000 --D 0
wide --w 1000
"""
RUNS = [{"output_name": "mine", "epoch": None, "steps": 12}, {"output_name": None, "epoch": 3, "steps": 40}]

args = options(__doc__)
train_util = upstream("sd", "library.train_util")
told = []


class Pipeline:
    def __init__(self, **parts):
        pass

    def to(self, device):
        pass

    def __call__(self, **wanted):
        told.append({**wanted, "seed": seeds.pop() if seeds else None})
        return SimpleNamespace(images=[SimpleNamespace(save=lambda path: told[-1].update(file=os.path.basename(path)))])


seeds = []
runs = []
for run in RUNS:
    told.clear()
    with tempfile.TemporaryDirectory() as folder, quiet(), mock.patch.object(train_util, "StableDiffusionLongPromptWeightingPipeline", Pipeline), \
            mock.patch.object(torch, "manual_seed", seeds.append), mock.patch.object(torch.cuda, "manual_seed"), \
            mock.patch.object(torch.cuda, "get_rng_state"), mock.patch.object(torch.cuda, "set_rng_state"), \
            mock.patch.object(train_util.time, "strftime", lambda form, at: {"%Y%m%d%H%M%S": "20231112141516"}[form]):
        prompts = os.path.join(folder, "prompts")
        with open(prompts, "w", encoding="utf-8") as file:
            file.write(TEXT)
        flags = SimpleNamespace(sample_every_n_steps=None if run["epoch"] else 1, sample_every_n_epochs=1 if run["epoch"] else None, sample_prompts=prompts,
                                sample_sampler="ddim", v_parameterization=False, clip_skip=None, output_dir=folder, output_name=run["output_name"])
        accelerator = mock.MagicMock(is_main_process=True)
        vae = SimpleNamespace(device="cpu", to=lambda device: None)
        train_util.sample_images(accelerator, flags, run["epoch"], run["steps"], "cpu", vae, None, None, None)
    runs.append({**run, "pictures": list(told)})
write_json(os.path.join(args.out, "prompts.json"), {"text": TEXT, "runs": runs})
