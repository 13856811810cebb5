"""What sd-scripts' tools for LoRA files make of small files: upstream.json.

    SD_SCRIPTS_DIR=... python gen_lora_tools.py [--out DIR]

Needs a checkout of sd-scripts v0.6.4. Its functions are run as they are: merge_lora.py's `merge_lora_models` and `merge_to_sd_model`, svd_merge_lora.py's
`merge_lora_models`, resize_lora.py's `resize_lora_model`, extract_lora_from_models.py's `svd`. The base model is assets/toy/base, read by diffusers, where they would
load a checkpoint of SD v1.5's sizes.

Two of them cut factors off at a quantile of their elements, which depends on the signs that a singular value decomposition happens to give: here the quantile is
infinite, so that nothing is cut off.

Files have modules by rule: element i of `down` is uniform(f"{file}.{module}.down")[i] / 2^row (see ../weights.py), of `up` uniform(f"{file}.{module}.up")[i]. Of what comes
out each module's change of weights, alpha / rank * up @ down, is told by its norm and eight elements, evenly spread from the first on.
"""
import os
import sys
import tempfile
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from common import options, quiet, upstream, write_json

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from weights import uniform  # noqa: E402

BASE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../assets/toy/base")
# module: [layer's out and in, kernel]
LAYERS = {
    "lora_te_text_model_encoder_layers_0_mlp_fc1": None,
    "lora_te_text_model_encoder_layers_9_self_attn_q_proj": None,
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": None,
    "lora_unet_mid_block_attentions_0_proj_out": None,
    "lora_unet_up_blocks_1_resnets_0_conv1": None,
}
# file: rank of linear layers and of convolutions, alpha
FILES = {"a": [6, 3, 4.0], "b": [6, 3, 1.0], "c": [2, 5, 2.0]}

args = options(__doc__)
merge_lora, svd_merge, resize, extract = None, None, None, None
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
upstream("sd", "library.train_util")
sys.path.insert(0, os.path.join(os.environ["SD_SCRIPTS_DIR"], "networks"))
with quiet():
    import extract_lora_from_models as extract
    import merge_lora
    import resize_lora as resize
    import svd_merge_lora as svd_merge
from diffusers import UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextModel  # noqa: E402


def models():
    return CLIPTextModel.from_pretrained(BASE, subfolder="text_encoder"), UNet2DConditionModel.from_pretrained(BASE, subfolder="unet")


def layers_of(text, unet):
    names = {"lora_te_" + name.replace(".", "_"): layer for name, layer in text.named_modules()}
    return names | {"lora_unet_" + name.replace(".", "_"): layer for name, layer in unet.named_modules()}


for name, layer in layers_of(*models()).items():
    if name in LAYERS:
        LAYERS[name] = list(layer.weight.shape)


def file_of(file):
    rank, conv_rank, alpha = FILES[file]
    tensors = {}
    for module, shape in LAYERS.items():
        own = conv_rank if len(shape) == 4 and shape[2] == 3 else rank
        down, up = [own, *shape[1:]], [shape[0], own] + [1] * (len(shape) - 2)
        values = uniform(f"{file}.{module}.down", int(np.prod(down))).reshape(own, -1) / np.float32(2) ** np.arange(own, dtype=np.float32)[:, None]
        tensors[f"{module}.lora_down.weight"] = torch.from_numpy(values.astype(np.float32).reshape(down))
        tensors[f"{module}.lora_up.weight"] = torch.from_numpy(uniform(f"{file}.{module}.up", int(np.prod(up))).reshape(up))
        tensors[f"{module}.alpha"] = torch.tensor(alpha)
    return tensors


def figures(delta):
    flat = np.asarray(delta, np.float64).reshape(-1)
    return {"norm": float(np.linalg.norm(flat)), "elements": [float(np.float32(flat[i * len(flat) // 8])) for i in range(8)]}


def told(tensors):
    rows = {}
    for name in LAYERS:
        if f"{name}.lora_down.weight" not in tensors:
            continue
        down, up = (tensors[f"{name}.lora_{end}.weight"].double().numpy() for end in ("down", "up"))
        rank, alpha = down.shape[0], float(tensors[f"{name}.alpha"])
        rows[name] = {"rank": rank, "alpha": alpha, **figures(alpha / rank * (up.reshape(up.shape[0], rank) @ down.reshape(rank, -1)))}
    return rows


infinite = mock.patch.object(torch, "quantile", lambda values, q: torch.tensor(float("inf")))
with tempfile.TemporaryDirectory() as folder, quiet(), torch.no_grad():
    paths = {file: os.path.join(folder, f"{file}.safetensors") for file in FILES}
    for file, path in paths.items():
        save_file(file_of(file), path)

    merges = [{"files": ["a", "b"], "ratios": [0.8, 0.5]}, {"files": ["b", "a"], "ratios": [1.0, 0.25]}, {"files": ["c"], "ratios": [0.5]}]
    for row in merges:
        row["modules"] = told(merge_lora.merge_lora_models([paths[file] for file in row["files"]], row["ratios"], torch.float))

    into_base = [{"files": ["a"], "ratios": [0.7]}, {"files": ["a", "c"], "ratios": [1.0, -0.5]}]
    for row in into_base:
        (text, unet), (text_0, unet_0) = models(), models()
        merge_lora.merge_to_sd_model(text, unet, [paths[file] for file in row["files"]], row["ratios"], torch.float)
        after, before = layers_of(text, unet), layers_of(text_0, unet_0)
        changed = {name for name in after if hasattr(after[name], "weight") and after[name].weight is not None
                   and not torch.equal(after[name].weight, before[name].weight)}
        assert changed == set(LAYERS)
        row["changes"] = {name: figures(after[name].weight.double() - before[name].weight.double()) for name in LAYERS}

    resized = [{"file": "a", "rank": 2}, {"file": "c", "rank": 2}] + [
        {"file": "a", "rank": 5, "method": method, "target": target}
        for method, targets in {"sv_ratio": [2, 8], "sv_fro": [0.7, 0.95], "sv_cumulative": [0.5, 0.9]}.items() for target in targets]
    for row in resized:
        tensors, metadata = resize.load_state_dict(paths[row["file"]], torch.float)
        row["modules"] = told(resize.resize_lora_model(tensors, row["rank"], torch.float, "cpu", row.get("method"), row.get("target"), False)[0])

    svd_merged = [{"files": ["a", "c"], "ratios": [0.8, 0.5], "rank": 4, "conv_rank": 4}]
    with infinite:
        for row in svd_merged:
            row["modules"] = told(svd_merge.merge_lora_models([paths[file] for file in row["files"]], row["ratios"], row["rank"], row["conv_rank"], None, torch.float))

    extracted = [{"merged": "a", "rank": 4, "conv_rank": 2}, {"merged": "a", "rank": 4, "conv_rank": None}]
    for row in extracted:
        original, tuned = models(), models()
        merge_lora.merge_to_sd_model(*tuned, [paths[row["merged"]]], [1.0], torch.float)
        queue, output = [(original[0], None, original[1]), (tuned[0], None, tuned[1])], os.path.join(folder, "extracted.safetensors")
        flags = SimpleNamespace(model_org="original", model_tuned="tuned", v2=False, dim=row["rank"], conv_dim=row["conv_rank"], device=None, save_precision="float",
                                save_to=output)
        with infinite, mock.patch.object(extract.model_util, "load_models_from_stable_diffusion_checkpoint", lambda v2, path: queue.pop(0)):
            extract.svd(flags)
        row["modules"] = told(load_file(output))

write_json(os.path.join(args.out, "upstream.json"), {
    "layers": LAYERS, "files": FILES, "merge": merges, "merge_into_base": into_base, "resize": resized, "svd_merge": svd_merged, "extract": extracted,
})
