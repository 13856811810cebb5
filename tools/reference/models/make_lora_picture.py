"""A picture that diffusers makes with a LoRA file of this project: `python make_lora_picture.py --out ../../../tests/golden/models`.

diffusers 0.21.4 (the first line of releases that reads kohya's files by itself), transformers 4.26.1, PyTorch 1.13.1, f32 on the CPU.
Starts from what make_lora_picture_inputs.ts writes. Holds `latents` [1, 4, 16, 16], as the UNet has them, after DDIM with 10 steps, guidance 3; for the base alone (`base.`), with the LoRA (`lora.`) and with the LoRA at half its strength (`half.`).
"""
import argparse
import pathlib

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
out = parser.parse_args().out
torch.set_num_threads(1)

# PyTorch 1.13's small products on the CPU multiply uninitialised memory by beta = 0, and leftover NaN leaks into attention: see ../training/generators/common.py.
_baddbmm = torch.baddbmm
torch.baddbmm = lambda x, a, b, beta=1, alpha=1: _baddbmm(*((torch.zeros_like(x), a, b) if beta == 0 else (x, a, b)), beta=beta or 1, alpha=alpha)

root = pathlib.Path(__file__).resolve().parents[3]
pipe = StableDiffusionPipeline.from_pretrained(str(root / "assets/toy/base"), torch_dtype=torch.float32, safety_checker=None)
pipe.scheduler = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True, steps_offset=1
)
pipe.set_progress_bar_config(disable=True)
noise = load_file(str(out / "lora_picture_noise.safetensors"))["noise"].permute(0, 3, 1, 2).contiguous()
prompt = "pixel art portrait of a person, long blonde hair, red clothes, white background"


def picture(prefix, scale):
    kwargs = {} if scale is None else {"cross_attention_kwargs": {"scale": scale}}
    with torch.no_grad():
        latents = pipe(
            prompt, height=128, width=128, num_inference_steps=10, guidance_scale=3.0, latents=noise.clone(), output_type="latent", **kwargs
        ).images
    return {f"{prefix}.latents": latents.contiguous()}


tensors = picture("base", None)
pipe.load_lora_weights(str(out), weight_name="lora_picture_network.safetensors")
tensors |= picture("lora", 1.0) | picture("half", 0.5)
save_file(tensors, str(out / "lora_picture.safetensors"))
for name, tensor in tensors.items():
    print(name, tuple(tensor.shape), float(tensor.abs().mean()))
