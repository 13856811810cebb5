"""Times the original's dual-network LoRA training step in PyTorch, on random weights.

Runs with PyTorch 1.13 + diffusers 0.10.2 + transformers 4.26 (what the original names) and with
current ones. Prints one JSON line; bench/README.md says what the fields mean.
"""
import argparse, copy, json, math, os, resource, statistics, time
from contextlib import nullcontext
from types import MethodType

import torch
import torch.nn.functional as F
import diffusers, transformers
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

BASES = {  # what differs from diffusers' and transformers' defaults
    "sd15": (dict(sample_size=64, cross_attention_dim=768),
             dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)),
    "toy": (dict(sample_size=16, cross_attention_dim=48, block_out_channels=(32, 64, 96, 96),
                 layers_per_block=1, attention_head_dim=4),
            dict(hidden_size=48, intermediate_size=192, num_hidden_layers=12, num_attention_heads=4)),
}
TEXT_HOOK, UNET_HOOK = "encoder.layers.9.mlp.fc2", "mid_block.attentions.0.proj_out"
BEFORE_HOOK = ("conv_in", "time_embedding", "down_blocks", "mid_block", *(f"layers.{i}." for i in range(10)))


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--config", choices=BASES, default="sd15")
    p.add_argument("--base", help="Diffusers folder: read unet/ and text_encoder/config.json there instead")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--size", type=int, default=512, help="pixels; latents are an eighth")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rank", type=int, default=64)
    p.add_argument("--precision", choices=["fp16", "bf16", "fp32"], default="fp16")
    p.add_argument("--mode", choices=["both", "frozen"], default="both", help="frozen: network 1 under no_grad")
    p.add_argument("--backward", choices=["original", "clean"], default="original",
                   help="original: two crossing backwards, every LoRA output kept; clean: one, hooks kept")
    p.add_argument("--checkpointing", action="store_true")
    p.add_argument("--same-base", action="store_true", help="both networks share one base's weights")
    p.add_argument("--attention", choices=["sdp", "naive", "xformers-like"], default="sdp",
                   help="xformers-like: PyTorch's memory-efficient kernel only (CUDA)")
    p.add_argument("--tf32", action="store_true")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--threads", type=int, default=0, help="0: PyTorch's default")
    args = p.parse_args()
    if args.device == "cpu" and args.precision == "fp16":
        p.error("fp16 needs --device cuda")
    return args


class Macs(dict):
    """Multiply-adds of one forward, by kind (base, attention, lora) and by whether they come before a hook."""
    on = False

    def add(self, kind, name, count):
        if self.on:
            key = kind, any(part in name for part in BEFORE_HOOK)
            self[key] = self.get(key, 0) + count

    def watch(self, layer, kind, name):
        def hook(layer, _, out):
            self.add(kind, name, out.numel() * layer.weight[0].numel())  # weights per output: in_features, or channels x kernel
        layer.register_forward_hook(hook)

    def sum(self, base, attention, lora, before_hook_only=False):
        weights = dict(base=base, attention=attention, lora=lora)
        return sum(weights[kind] * n for (kind, before), n in self.items() if before or not before_hook_only)


class Lora(torch.nn.Module):
    """Replaces a layer's forward by base(x) + up(down(x)) * scale, and keeps that delta."""

    def __init__(self, layer, rank, keep):
        super().__init__()
        if isinstance(layer, torch.nn.Conv2d):
            self.down = torch.nn.Conv2d(layer.in_channels, rank, 1, bias=False)
            self.up = torch.nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = torch.nn.Linear(layer.in_features, rank, bias=False)
            self.up = torch.nn.Linear(rank, layer.out_features, bias=False)
        torch.nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        torch.nn.init.normal_(self.up.weight, std=0.01)  # zeros would hide work
        self.scale, self.keep, self.delta, self.base = 1.0, keep, None, layer.forward
        layer.forward = self.forward

    def forward(self, x):
        delta = self.up(self.down(x)) * self.scale
        if self.keep:
            self.delta = delta
        return self.base(x) + delta


def is_target_block(module):
    name = type(module).__name__
    return name == "Transformer2DModel" or name.startswith("CLIP") and name.endswith(("Attention", "MLP"))


def inject(models, rank, keep_all, macs):
    """One LoRA for every linear and 1x1 convolution in the target blocks; returns them by layer name."""
    loras = {}
    for model in models:
        for outer, block in model.named_modules():
            for inner, layer in block.named_modules() if is_target_block(block) else ():
                name = f"{outer}.{inner}"
                if isinstance(layer, torch.nn.Linear) or isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1):
                    lora = loras[name] = Lora(layer, rank, keep_all or name.endswith((TEXT_HOOK, UNET_HOOK)))
                    macs.watch(lora.down, "lora", name)
                    macs.watch(lora.up, "lora", name)
    return loras


def patch_attention(unet, kind, macs):
    """Gives every attention of any diffusers version the same plain forward; returns the kind in use."""
    kind = kind if hasattr(F, "scaled_dot_product_attention") else "naive"
    for name, module in unet.named_modules():
        if not hasattr(module, "to_q"):
            continue

        def forward(self, x, *args, name=name, **kwargs):
            context = args[0] if args else kwargs.get("encoder_hidden_states", kwargs.get("context"))
            context = x if context is None else context
            split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            q, k, v = split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context))
            macs.add("attention", name, 2 * q.numel() * k.shape[2])
            if kind == "naive":
                out = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1).to(v.dtype) @ v
            else:
                out = F.scaled_dot_product_attention(q, k, v)
            return self.to_out[0](out.transpose(1, 2).flatten(2))

        module.forward = MethodType(forward, module)
    if kind == "xformers-like":
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_math_sdp(False)
        if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
            torch.backends.cuda.enable_cudnn_sdp(False)
    return kind


def make_base(args, dtype):
    unet_config, text_config = BASES[args.config]
    if args.base:
        read = lambda part: json.load(open(os.path.join(args.base, part, "config.json")))
        unet_config, text_config = read("unet"), read("text_encoder")
    can_enter = hasattr(torch.device, "__enter__")  # PyTorch 2: make the weights on the device
    with torch.device(args.device) if can_enter else nullcontext():
        unet = UNet2DConditionModel.from_config(unet_config)
        text = CLIPTextModel(CLIPTextConfig.from_dict(text_config))
    return tuple(m.to(args.device, dtype).requires_grad_(False).eval() for m in (text, unet))


def share(model):
    """A second module tree over the same weights."""
    return copy.deepcopy(model, {id(t): t for t in [*model.parameters(), *model.buffers()]})


def orthogonality(a, b):
    gram = torch.bmm(a, b.transpose(1, 2))
    return ((gram * (1 - torch.eye(gram.shape[-1], device=gram.device))) ** 2).mean()


class Network:
    """A base with its LoRA, optimizer and scaler."""

    def __init__(self, base, args, dtype, macs, trained):
        self.text, self.unet = base
        self.attention = patch_attention(self.unet, args.attention, macs)
        for model in base:
            for name, layer in model.named_modules():
                if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                    macs.watch(layer, "base", name)
        loras = inject(base, args.rank, args.backward == "original", macs)
        self.hooks = [next(l for n, l in loras.items() if n.endswith(h)) for h in (TEXT_HOOK, UNET_HOOK)]
        self.loras = torch.nn.ModuleList(loras.values()).to(args.device).requires_grad_(trained)
        if args.checkpointing:
            self.text.train().gradient_checkpointing_enable()
            self.unet.train().enable_gradient_checkpointing()
            self.text.get_input_embeddings().register_forward_hook(lambda m, i, out: out.requires_grad_())
        self.trained, self.dtype = trained, dtype
        if trained:
            self.optimizer = torch.optim.AdamW(self.loras.parameters(), lr=1e-4)
            Scaler = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
            self.scaler = Scaler(enabled=args.precision == "fp16")

    def forward(self, ids, noisy, timesteps):
        with torch.set_grad_enabled(self.trained):
            embeddings = self.text(ids)[0].to(self.dtype)
            return self.unet(noisy, timesteps, embeddings).sample

    def clip(self):
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.loras.parameters(), 1.0)


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    device, cuda = args.device, args.device == "cuda"
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[args.precision]

    macs = (Macs(), Macs())
    for m in macs:
        m.on = True
    base = make_base(args, dtype)
    other = tuple(share(m) for m in base) if args.same_base else make_base(args, dtype)
    one = Network(base, args, dtype, macs[0], args.mode == "both")
    two = Network(other, args, dtype, macs[1], True)
    trained = [n for n in (one, two) if n.trained]
    if args.backward == "clean":
        trained[0].scaler = two.scaler

    side, vocabulary = args.size // 8, base[0].config.vocab_size
    ids = [torch.randint(0, vocabulary, (args.batch, 77), device=device) for _ in range(2)]
    latents = [torch.randn(args.batch, 4, side, side, device=device) * 0.9 for _ in range(2)]
    betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, device=device) ** 2
    kept = (1 - betas).cumprod(0)
    autocast = (lambda: torch.autocast(device, dtype)) if args.precision != "fp32" else nullcontext

    def step():
        timesteps = torch.randint(0, 1000, (args.batch,), device=device)
        a = kept[timesteps].view(-1, 1, 1, 1)
        noise = [torch.randn_like(x) for x in latents]
        noisy = [a.sqrt() * x + (1 - a).sqrt() * n for x, n in zip(latents, noise)]
        with autocast():
            predictions = [n.forward(i, x.to(dtype), timesteps) for n, i, x in zip((one, two), ids, noisy)]
        for m in macs:
            m.on = False  # count the first forward only
        mse = [F.mse_loss(p.float(), n) for p, n in zip(predictions, noise)]
        (text1, unet1), (text2, unet2) = ([h.delta for h in n.hooks] for n in (one, two))
        orth = orthogonality(text1, text2) + orthogonality(unet1.flatten(0, 1), unet2.flatten(0, 1))
        if args.backward == "original":
            # Each loss carries the term, and the second backward adds to the first's gradients.
            # (With fp16 and network 1 frozen the original stops here: its scaler finds no gradients.)
            losses = [m + orth for m in mse]
            trained[0].scaler.scale(losses[0]).backward(retain_graph=True)
            if one.trained:
                one.clip()
            two.scaler.scale(losses[1]).backward()
            two.clip()
        else:
            losses = [mse[0] + mse[1] + orth]
            two.scaler.scale(losses[0]).backward()
            for n in trained:
                n.clip()
        for n in trained:
            n.scaler.step(n.optimizer)
            n.optimizer.zero_grad(set_to_none=True)
        for scaler in {n.scaler for n in trained}:
            scaler.update()
        return [l.item() for l in losses]  # the original reads its losses every step

    times, cpu_times = [], []
    for i in range(args.warmup + args.steps):
        if i == args.warmup and cuda:
            torch.cuda.reset_peak_memory_stats()
        if cuda:
            torch.cuda.synchronize()
        start, cpu = time.perf_counter(), time.process_time()
        losses = step()
        if cuda:
            torch.cuda.synchronize()
        if i >= args.warmup:
            times.append((time.perf_counter() - start) * 1000)
            cpu_times.append((time.process_time() - cpu) * 1000)

    print(json.dumps(report(args, one, two, macs, times, cpu_times, losses)))


def report(args, one, two, macs, times, cpu_times, losses):
    total = 0
    for network, m in zip((one, two), macs):
        total += m.sum(1, 1, 1)
        if network.trained:  # a frozen layer needs its input's gradient only; checkpointing adds a forward
            weights = (2, 3, 3) if args.checkpointing else (1, 2, 2)
            total += m.sum(*weights)
            if args.backward == "original":
                total += m.sum(*weights, before_hook_only=True)
    tflop, median = 2 * total / 1e12, statistics.median(times)
    if args.device == "cuda":
        peak, adapter = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        adapter = f"cpu, {torch.get_num_threads()} threads"
    variant = [args.backward, one.attention] + ["checkpointing"] * args.checkpointing + ["tf32"] * args.tf32
    name = os.path.basename(os.path.normpath(args.base)) if args.base else args.config
    return {
        "peer": " ".join(["torch", ".".join(torch.__version__.split(".")[:2]), *variant]), "op": "dual_step",
        "shape": f"{name} {args.size}px batch{args.batch} rank{args.rank} {args.mode}", "pass": "step",
        "dtype": {"fp16": "f16", "bf16": "bf16", "fp32": "f32"}[args.precision],
        "ms_median": round(median, 3), "ms_min": round(min(times), 3), "ms_max": round(max(times), 3),
        "cpu_ms": round(statistics.median(cpu_times), 3),
        "gflops": round(tflop * 1e6 / median, 1), "tflop": round(tflop, 4), "peak_bytes": peak,
        "adapter": adapter, "runs": len(times), "batch": 1, "same_base": args.same_base,
        "losses": [round(l, 5) for l in losses],
        "version": f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
                   f"transformers {transformers.__version__}, cuda {torch.version.cuda}",
    }


if __name__ == "__main__":
    main()
