"""The ops in PyTorch, for `bench:peers`: answers requests on stdin by JSON lines on stdout, as bench/peers/serve.ts does."""
import argparse, json, sys, time

import numpy as np
import torch
import torch.nn.functional as F


def uniform(shape, seed):
    """Element i is murmur3's finalizer of seed + i * 0x9E3779B9, as a number in [-1, 1)."""
    x = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    x = (x ^ x >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    x = (x ^ x >> np.uint32(16)) >> np.uint32(8)
    return torch.from_numpy((x / 2 ** 23 - 1).astype(np.float32)).reshape(shape)


def convolution(side):
    return lambda b, h, w, i, o: ([(b, h, w, i), (side, side, i, o), (b, h, w, o)], 1)


# Per op: the shapes of its inputs and of its output, and how many inputs (from the first) get a gradient.
SHAPES = {
    "matmul": lambda m, n, k: ([(m, k), (k, n), (m, n)], 2),
    "conv3x3": convolution(3),
    "conv1x1": convolution(1),
    "linear": lambda m, i, o: ([(m, i), (i, o), (m, o)], 1),
    "attention": lambda *s: ([s, s, s, s], 3),
    "group_norm_silu": lambda *s: ([s, s[3:], s[3:], s], 1),
    "layer_norm": lambda *s: ([s, s[1:], s[1:], s], 1),
    "silu": lambda *s: ([s, s], 1),
}

FUNCTIONS = {
    "matmul": torch.matmul,
    "conv3x3": lambda x, w: F.conv2d(x, w, padding=1),
    "conv1x1": F.conv2d,
    "linear": F.linear,
    "attention": F.scaled_dot_product_attention,
    "group_norm_silu": lambda x, scale, bias: F.silu(F.group_norm(x, 32, scale, bias)),
    "layer_norm": lambda x, scale, bias: F.layer_norm(x, x.shape[-1:], scale, bias),
    "silu": F.silu,
}


def arrange(op, tensors):
    """From the shared layout (NHWC, [in, out], tokens before heads) to PyTorch's."""
    if op == "linear":
        x, w, dy = tensors
        return x, w.t().contiguous(), dy
    if op == "attention":
        return [t.transpose(1, 2).contiguous() for t in tensors]
    if op in ("conv3x3", "conv1x1", "group_norm_silu"):
        weight = None if op == "group_norm_silu" else 1
        return [t if t.dim() < 4 else t.permute((3, 2, 0, 1) if i == weight else (0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
                for i, t in enumerate(tensors)]
    return tensors


def prepare(op, dims, gradient, device):
    shapes, count = SHAPES[op](*dims)
    *inputs, dy = [t.to(device) for t in arrange(op, [uniform(s, i) for i, s in enumerate(shapes)])]
    wanted = inputs[:count]

    def run():
        if not gradient:
            with torch.no_grad():
                return FUNCTIONS[op](*inputs)
        for t in wanted:
            t.requires_grad_()
        return torch.autograd.grad(FUNCTIONS[op](*inputs), wanted, dy)[0]

    return run


def batch(run, runs):
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs):
        out = run()
    out.flatten()[0].item()  # waits for the device
    return {"wallMs": (time.perf_counter() - start) * 1000, "cpuMs": (time.process_time() - cpu) * 1000}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", type=int, default=1, help="of the CPU")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {args.threads} threads"
    peer = "torch " + ".".join(torch.__version__.split(".")[:2]) + " " + device
    print(json.dumps({"peer": peer, "version": f"torch {torch.__version__}", "adapter": name}), flush=True)

    run = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["command"] == "prepare":
                run = None
                run = prepare(request["op"]["op"], request["op"]["dims"], request["pass"] != "forward", device)
                answer = {"check": run().float().abs().mean().item()}
            else:
                answer = batch(run, request["runs"])
        except RuntimeError as error:
            answer = {"error": str(error).split("\n")[0][:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
