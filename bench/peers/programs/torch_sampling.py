"""Times a picture in diffusers, on random weights: text encoder, DDIM with guidance, VAE.

Prints one JSON line; bench/README.md says what the fields mean.
"""
import argparse, json, statistics, time

import torch
import diffusers, transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from torch_dual_step import BASES

VAES = {  # what differs from diffusers' defaults
    "sd15": dict(sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2),
    "toy": dict(sample_size=128, block_out_channels=(16, 16, 32, 32), norm_num_groups=4),
}
BLOCKS = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                set_alpha_to_one=False, steps_offset=1)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--config", choices=BASES, default="sd15")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--size", type=int, default=512, help="pixels")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--guidance", type=float, default=7.5)
    p.add_argument("--precision", choices=["fp16", "bf16", "fp32"], default="fp16")
    p.add_argument("--pictures", type=int, default=5, help="that are timed, after one that is not")
    p.add_argument("--threads", type=int, default=0, help="0: PyTorch's default")
    return p.parse_args()


def make_pipeline(args, dtype):
    unet_config, text_config = BASES[args.config]
    with torch.device(args.device):
        parts = dict(unet=UNet2DConditionModel.from_config(unet_config),
                     text_encoder=CLIPTextModel(CLIPTextConfig.from_dict(text_config)),
                     vae=AutoencoderKL.from_config({**BLOCKS, **VAES[args.config]}))
    parts = {name: model.to(args.device, dtype).eval() for name, model in parts.items()}
    pipeline = StableDiffusionPipeline(**parts, tokenizer=None, scheduler=DDIMScheduler(**SCHEDULE), safety_checker=None,
                                       feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cuda = args.device == "cuda"
    pipeline = make_pipeline(args, {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[args.precision])
    vocabulary = pipeline.text_encoder.config.vocab_size
    ids = [torch.randint(0, vocabulary, (1, 77), device=args.device) for _ in range(2)]

    def picture():
        with torch.no_grad():
            prompt, negative = (pipeline.text_encoder(i)[0] for i in ids)
            return pipeline(prompt_embeds=prompt, negative_prompt_embeds=negative, num_inference_steps=args.steps, output_type="np",
                            guidance_scale=args.guidance, height=args.size, width=args.size).images[0]  # on the host

    times, cpu_times = [], []
    for i in range(1 + args.pictures):
        start, cpu = time.perf_counter(), time.process_time()
        pixels = picture()
        if i > 0:
            times.append((time.perf_counter() - start) * 1000)
            cpu_times.append((time.process_time() - cpu) * 1000)

    median = statistics.median(times)
    print(json.dumps({
        "peer": "torch " + ".".join(torch.__version__.split(".")[:2]) + " diffusers", "op": "sampling",
        "shape": f"{args.config} {args.size}px ddim {args.steps} steps batch1", "pass": "sample",
        "dtype": {"fp16": "f16", "bf16": "bf16", "fp32": "f32"}[args.precision],
        "ms_median": round(median, 3), "ms_min": round(min(times), 3), "cpu_ms": round(statistics.median(cpu_times), 3),
        "runs": len(times), "batch": 1, "ms_per_step": round(median / args.steps, 3), "check": round(255 * float(pixels.mean()), 3),
        "adapter": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "version": f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
                   f"transformers {transformers.__version__}, cuda {torch.version.cuda}",
    }))


if __name__ == "__main__":
    main()
