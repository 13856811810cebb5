"""Golden of weights in the prompts of pictures: `SD_SCRIPTS_DIR=... python make_weighted_picture.py BASE OUT`; BASE is the toy base.

The pipeline that sd-scripts v0.6.4 makes its samples with, on diffusers 0.10.2, transformers 4.26.1 and PyTorch 1.13.1, f32 on the CPU. Starts from the
noise that make_lora_picture_inputs.ts writes. Holds `latents` [1, 4, 16, 16], as the UNet has them, after DDIM with 4 steps, guidance 3; and `plain`, the
same of the prompts without their weights.
"""
import os
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

sys.path.insert(0, os.environ["SD_SCRIPTS_DIR"])
from library.lpw_stable_diffusion import StableDiffusionLongPromptWeightingPipeline  # noqa: E402

# PyTorch 1.13's small products on the CPU multiply uninitialised memory by beta = 0, and leftover NaN leaks into attention: see ../training/generators/common.py.
_baddbmm = torch.baddbmm
torch.baddbmm = lambda x, a, b, beta=1, alpha=1: _baddbmm(*((torch.zeros_like(x), a, b) if beta == 0 else (x, a, b)), beta=beta or 1, alpha=alpha)
torch.set_num_threads(1)

base, out = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
assert tokenizer.fix_text is not None, "ftfy is missing"


def load(cls, folder, file):
    """This diffusers and transformers know no weights in safetensors."""
    config = CLIPTextConfig.from_pretrained(base / folder) if cls is CLIPTextModel else cls.load_config(base / folder)
    model = cls(config) if cls is CLIPTextModel else cls.from_config(config)
    state = {k: v.float() for k, v in load_file(base / folder / file).items()}
    # Later releases have other names for the VAE's attention.
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    if cls is AutoencoderKL:
        for later, earlier in renamed.items():
            state = {k.replace(f".attentions.0.{later}.", f".attentions.0.{earlier}."): v for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing), (missing, unexpected)
    return model.eval()


pipe = StableDiffusionLongPromptWeightingPipeline(
    vae=load(AutoencoderKL, "vae", "diffusion_pytorch_model.safetensors"),
    text_encoder=load(CLIPTextModel, "text_encoder", "model.safetensors"),
    tokenizer=tokenizer,
    unet=load(UNet2DConditionModel, "unet", "diffusion_pytorch_model.safetensors"),
    scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
    clip_skip=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
)
pipe.set_progress_bar_config(disable=True)
noise = load_file(str(out / "lora_picture_noise.safetensors"))["noise"].permute(0, 3, 1, 2).contiguous()


def picture(prompt, negative):
    steps = []
    pipe(prompt, negative, height=128, width=128, num_inference_steps=4, guidance_scale=3.0, latents=noise.clone(),
         callback=lambda step, timestep, latents: steps.append(latents.clone()))
    return steps[-1].contiguous()


tensors = {
    "latents": picture("pixel art portrait of a person, (long blonde hair:1.5), [red] clothes, white background", "(brown hair:1.4), glasses"),
    "plain": picture("pixel art portrait of a person, long blonde hair, red clothes, white background", "brown hair, glasses"),
}
save_file(tensors, str(out / "weighted_picture.safetensors"))
for name, tensor in tensors.items():
    print(name, tuple(tensor.shape), float(tensor.abs().mean()), float((tensor - tensors["plain"]).norm() / tensors["plain"].norm()))
