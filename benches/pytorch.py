#!/usr/bin/env python3
"""The PyTorch side of `make bench`: the same networks, losses, steps and layers, timed on request.

Reads one JSON request a line from stdin, answers with one JSON line on stdout. The Rust side
(`benches/side_by_side.rs`) starts this script, sends it the shapes, and takes turns with it.

    {"do": "hello"}                                    -> {"version": ..., "threads": ...}
    {"do": "make", "name": N, "what": {...}, "mode": "eager" | "compile"}
                                                       -> {"parameters": ...} or {"error": ...}
    {"do": "time", "name": N, "seconds": S, "cpu": B} -> {"times": [seconds of one call, ...]}
    {"do": "memory"}                                   -> {"most": ..., "now": ...} bytes of this process
    {"do": "drop", "name": N}                          -> {}

Written as a careful PyTorch user would write it: library layers, scaled_dot_product_attention, the
fused AdamW, a foreach EMA. Nothing is left out of a step: forward, both losses, backward, clipping,
AdamW, EMA.
"""

import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

THREADS = int(os.environ.get("SADM_BENCH_THREADS", "2"))
DEVICE = os.environ.get("SADM_BENCH_DEVICE", "cpu")


def time_features(noise, dim):
    half = dim // 2
    k = torch.arange(half) / max(half - 1, 1)
    phase = noise[:, None] * (0.5 * 64.0**k)[None, :]
    return torch.cat([phase.cos(), phase.sin()], dim=1)


class Condition(nn.Module):
    def __init__(self, time_dim, dim, classes):
        super().__init__()
        self.time_dim = time_dim
        self.time = nn.Sequential(nn.Linear(time_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.table = nn.Embedding(classes + 1, dim)

    def forward(self, noise, labels):
        return F.silu(self.time(time_features(noise, self.time_dim)) + self.table(labels))


def group_norm(groups, channels):
    return nn.GroupNorm(min(groups, channels), channels, eps=1e-5)


class PixelAttention(nn.Module):
    def __init__(self, channels, heads, groups):
        super().__init__()
        self.norm = group_norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.heads = heads

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.proj(y.reshape(b, c, h, w))


class ResBlock(nn.Module):
    def __init__(self, inputs, outputs, emb_dim, groups):
        super().__init__()
        self.norm1 = group_norm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.emb = nn.Linear(emb_dim, 2 * outputs)
        self.norm2 = group_norm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, emb):
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


class UNet(nn.Module):
    def __init__(self, c, image):
        super().__init__()
        channels, groups = c["channels"], c["groups"]
        self.condition = Condition(c["time_dim"], c["emb_dim"], image["classes"])
        self.conv_in = nn.Conv2d(image["channels"], channels[0], 3, padding=1)
        width, skips = channels[0], []

        def stage(inputs, level):
            parts = [ResBlock(inputs, channels[level], c["emb_dim"], groups)]
            if level in c["attention"]:
                parts.append(PixelAttention(channels[level], c["heads"], groups))
            return nn.ModuleList(parts)

        self.down = nn.ModuleList()
        for level in range(len(channels)):
            stages = nn.ModuleList()
            for _ in range(c["blocks"]):
                stages.append(stage(width, level))
                width = channels[level]
                skips.append(width)
            self.down.append(stages)
        self.middle = nn.ModuleList([
            ResBlock(width, width, c["emb_dim"], groups),
            PixelAttention(width, c["heads"], groups),
            ResBlock(width, width, c["emb_dim"], groups),
        ])
        self.up, self.up_conv = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(channels))):
            stages = nn.ModuleList()
            for _ in range(c["blocks"]):
                stages.append(stage(width + skips.pop(), level))
                width = channels[level]
            self.up.append(stages)
            self.up_conv.append(nn.Conv2d(width, width, 3, padding=1) if level > 0 else nn.Identity())
        self.norm_out = group_norm(groups, width)
        self.conv_out = nn.Conv2d(width, image["channels"], 3, padding=1)

    @staticmethod
    def stage(parts, h, emb):
        h = parts[0](h, emb)
        return parts[1](h) if len(parts) > 1 else h

    def forward(self, x, noise, labels):
        emb = self.condition(noise, labels)
        h, skips = self.conv_in(x), []
        for level, stages in enumerate(self.down):
            if level > 0:
                h = F.avg_pool2d(h, 2)
            for parts in stages:
                h = self.stage(parts, h, emb)
                skips.append(h)
        h = self.middle[0](h, emb)
        h = self.middle[2](self.middle[1](h), emb)
        for i, (stages, conv) in enumerate(zip(self.up, self.up_conv)):
            for parts in stages:
                h = self.stage(parts, torch.cat([h, skips.pop()], dim=1), emb)
            if i + 1 < len(self.up):
                h = conv(F.interpolate(h, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


def modulated_norm(x, scale, shift):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DitBlock(nn.Module):
    def __init__(self, dim, heads, ratio):
        super().__init__()
        self.ada = nn.Linear(dim, 6 * dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, ratio * dim), nn.GELU(approximate="tanh"), nn.Linear(ratio * dim, dim)
        )
        self.heads = heads

    def forward(self, x, emb):
        b, t, d = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.ada(emb).chunk(6, dim=1)
        qkv = self.qkv(modulated_norm(x, scale1, shift1)).reshape(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x = x + gate1[:, None] * self.proj(h)
        return x + gate2[:, None] * self.mlp(modulated_norm(x, scale2, shift2))


class DitSmall(nn.Module):
    def __init__(self, c, image):
        super().__init__()
        dim, self.patch = c["dim"], c["patch"]
        self.side, self.channels = image["size"] // self.patch, image["channels"]
        patch_len = self.channels * self.patch**2
        self.condition = Condition(c["time_dim"], dim, image["classes"])
        self.embed = nn.Linear(patch_len, dim)
        self.register_buffer("positions", self.position_features(dim))
        self.blocks = nn.ModuleList(
            DitBlock(dim, c["heads"], c["mlp_ratio"]) for _ in range(c["depth"])
        )
        self.ada = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, patch_len)

    def position_features(self, dim):
        omega = 10000.0 ** (-torch.arange(dim // 4) / (dim // 4))
        row, column = torch.meshgrid(*2 * [torch.arange(self.side) * 1.0], indexing="ij")
        parts = [f(p.reshape(-1, 1) * omega) for p in (row, column) for f in (torch.sin, torch.cos)]
        return torch.cat(parts, dim=1)

    def forward(self, x, noise, labels):
        b, c, p, s = x.shape[0], self.channels, self.patch, self.side
        tokens = x.reshape(b, c, s, p, s, p).permute(0, 2, 4, 1, 3, 5).reshape(b, s * s, -1)
        emb = self.condition(noise, labels)
        h = self.embed(tokens) + self.positions
        for block in self.blocks:
            h = block(h, emb)
        shift, scale = self.ada(emb).chunk(2, dim=1)
        y = self.out(modulated_norm(h, scale, shift)).reshape(b, s, s, c, p, p)
        return y.permute(0, 3, 1, 4, 2, 5).reshape(b, c, s * p, s * p)


class Encoder(nn.Module):
    def __init__(self, c, image):
        super().__init__()
        widths = c["widths"]
        self.conv_in = nn.Conv2d(image["channels"], widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.norms = nn.ModuleList(group_norm(c["groups"], w) for w in inputs)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, widths))
        self.norm_out = group_norm(c["groups"], widths[-1])
        self.features = nn.Linear(widths[-1], c["dim"])

    def forward(self, x):
        h = self.conv_in(x)
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs)):
            if i > 0:
                h = F.avg_pool2d(h, 2)
            h = conv(F.silu(norm(h)))
        return self.features(F.silu(self.norm_out(h)).mean(dim=(2, 3)))


def structural_loss(psi, psi_hat, eta):
    """SADM Eq. 5-7, cosine, squared, diagonal included, as it is usually written."""
    psi, psi_hat = F.normalize(psi), F.normalize(psi_hat)
    difference = psi @ psi.T - psi_hat @ psi_hat.T
    return (difference.square() * (eta[:, None] * eta[None, :]).sqrt()).mean()


class Step:
    """One guided update of theta; EDM preconditioning and weight."""

    def __init__(self, what, compiled):
        image, self.batch = what["image"], what["batch"]
        make = {"unet": UNet, "dit-small": DitSmall, **PUBLISHED}[what["kind"]]  # benches/published.py
        self.net = make(what["network"], image)
        self.encoder = Encoder(what["encoder"], image).requires_grad_(False)
        self.parameters = sum(p.numel() for p in self.net.parameters())
        self.ema = [p.detach().clone() for p in self.net.parameters()]
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, betas=(0.9, 0.99),
                                           weight_decay=0.0, fused=True)
        self.sigma_data, self.weight, self.guided = what["sigma_data"], what["structure_weight"], what["guided"]
        shape = (self.batch, image["channels"], image["size"], image["size"])
        self.x0, self.eps = torch.rand(shape) * 2 - 1, torch.randn(shape)
        self.sigma = torch.exp(-1.2 + 1.2 * torch.randn(self.batch))
        self.eta = 1 / torch.rand(self.batch).clamp(min=0.1)
        self.labels = torch.randint(0, image["classes"], (self.batch,))
        self.losses = torch.compile(self.both_losses) if compiled else self.both_losses

    def both_losses(self, x0, eps, sigma, eta, labels):
        column = sigma[:, None, None, None]
        x_t = x0 + column * eps
        square = column.square() + self.sigma_data**2
        network_out = self.net(x_t / square.sqrt(), sigma.log() / 4, labels)
        x_hat = self.sigma_data**2 / square * x_t + column * self.sigma_data / square.sqrt() * network_out
        weights = 1 / sigma.square() + 1 / self.sigma_data**2
        denoising = (weights * (x_hat - x0).square().sum(dim=(1, 2, 3))).mean()
        if not self.guided:
            return denoising
        structure = structural_loss(self.encoder(x0), self.encoder(x_hat), eta)
        return denoising + self.weight * structure

    def __call__(self):
        loss = self.losses(self.x0, self.eps, self.sigma, self.eta, self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        torch._foreach_lerp_(self.ema, list(self.net.parameters()), 0.01)


def compiled_if(function, compiled):
    return torch.compile(function) if compiled else function


class Differentiated:
    """y = f(inputs), then the gradients of <g, y> with respect to every input."""

    parameters = None

    def __init__(self, function, inputs, compiled):
        self.function = compiled_if(function, compiled)
        self.inputs = [x.requires_grad_() for x in inputs]
        self.g = torch.randn_like(function(*inputs))

    def __call__(self):
        for x in self.inputs:
            x.grad = None
        self.function(*self.inputs).backward(self.g)


def layer(what, compiled):
    op, shape = what["op"], what["shape"]
    x = torch.randn(shape)
    channels = shape[1]
    if op == "conv2d":
        k = what["kernel"]
        weight = torch.randn(what["outputs"], channels, k, k)
        bias = torch.randn(what["outputs"])
        return Differentiated(lambda x, w, b: F.conv2d(x, w, b, padding=k // 2), [x, weight, bias], compiled)
    if op == "linear":
        weight, bias = torch.randn(what["outputs"], shape[-1]), torch.randn(what["outputs"])
        return Differentiated(F.linear, [x, weight, bias], compiled)
    if op == "group_norm_silu":
        gamma, beta = torch.randn(channels), torch.randn(channels)
        return Differentiated(
            lambda x, g, b: F.silu(F.group_norm(x, what["groups"], g, b)), [x, gamma, beta], compiled)
    if op == "modulated_layer_norm":
        gamma, beta = torch.randn(shape[0], shape[-1]), torch.randn(shape[0], shape[-1])
        return Differentiated(
            lambda x, g, b: F.layer_norm(x, x.shape[-1:], eps=1e-6) * g[:, None] + b[:, None],
            [x, gamma, beta], compiled)
    if op == "silu":
        return Differentiated(F.silu, [x], compiled)
    if op == "gelu":
        return Differentiated(lambda x: F.gelu(x, approximate="tanh"), [x], compiled)
    if op == "softmax":
        return Differentiated(lambda x: F.softmax(x, dim=-1), [x], compiled)
    if op == "self_attention":
        b, t, c = shape
        heads = what["heads"]

        def attend(qkv):
            q, k, v = qkv.reshape(b, t, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c // 3)

        return Differentiated(attend, [x], compiled)
    if op == "upsample":
        return Differentiated(lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), [x], compiled)
    if op == "avg_pool":
        return Differentiated(lambda x: F.avg_pool2d(x, 2), [x], compiled)
    raise ValueError(f"no layer called {op}")


class Optimizer:
    """AdamW and EMA of parameters of given sizes."""

    parameters = None

    def __init__(self, sizes):
        self.params = [torch.randn(n, requires_grad=True) for n in sizes]
        for p in self.params:
            p.grad = torch.randn_like(p)
        self.ema = [p.detach().clone() for p in self.params]
        self.optimizer = torch.optim.AdamW(self.params, lr=1e-3, fused=True)

    def __call__(self):
        self.optimizer.step()
        torch._foreach_lerp_(self.ema, self.params, 0.01)


class StructuralLoss:
    """The loss with its gradient with respect to the generated features."""

    parameters = None

    def __init__(self, batch, dim, compiled):
        self.real, self.generated = torch.randn(batch, dim), torch.randn(batch, dim, requires_grad=True)
        self.eta = torch.full((batch,), 2.0)
        self.function = compiled_if(structural_loss, compiled)

    def __call__(self):
        self.generated.grad = None
        self.function(self.real, self.generated, self.eta).backward()


class Ready(torch.autograd.Function):
    """An operation that has its gradient ready."""

    @staticmethod
    def forward(ctx, x, gradient):
        ctx.gradient = gradient
        return x.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return ctx.gradient, None


class Graph:
    """An operation that has its gradient ready, and its walk backwards."""

    parameters = None

    def __init__(self, batch, dim):
        self.generated, self.gradient = torch.randn(batch, dim, requires_grad=True), torch.randn(batch, dim)

    def __call__(self):
        self.generated.grad = None
        Ready.apply(self.generated, self.gradient).backward()


class Products:
    """The matrix products that the loss and its gradient need at least, and nothing else."""

    parameters = None

    def __init__(self, shapes):
        self.pairs = [(torch.randn(m, k), torch.randn(k, n)) for m, k, n in shapes]

    def __call__(self):
        for a, b in self.pairs:
            a @ b


class Assignment:
    """Costs and optimal assignment of the images and the noise in a file."""

    parameters = None

    def __init__(self, count, dim, file):
        import numpy
        from scipy.optimize import linear_sum_assignment

        both = numpy.fromfile(file, "<f4").reshape(2, count, dim)
        self.images, self.noise = torch.from_numpy(both).to(DEVICE)
        self.solve = linear_sum_assignment

    def __call__(self):
        self.solve(torch.cdist(self.images, self.noise).cpu().numpy())


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU of the Inception network."""

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Side(nn.Module):
    """Branches side by side; a branch may begin with a pooling."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_network():
    """Inception-V3 as FID uses it: means do not count the padding, the last block takes a maximum."""
    def same(inputs, *plan):
        layers = []
        for outputs, kernel in plan:
            layers.append(ConvNorm(inputs, outputs, kernel, padding=tuple(k // 2 for k in kernel)))
            inputs = outputs
        return nn.Sequential(*layers)

    def pooled(inputs, outputs, pool):
        return nn.Sequential(pool, ConvNorm(inputs, outputs, 1))

    def mean():
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def a(inputs, outputs):
        return Side(same(inputs, (64, (1, 1))), same(inputs, (48, (1, 1)), (64, (5, 5))),
                    same(inputs, (64, (1, 1)), (96, (3, 3)), (96, (3, 3))), pooled(inputs, outputs, mean()))

    def c(w):
        tall, wide = (7, 1), (1, 7)
        return Side(same(768, (192, (1, 1))), same(768, (w, (1, 1)), (w, wide), (192, tall)),
                    same(768, (w, (1, 1)), (w, tall), (w, wide), (w, tall), (192, wide)), pooled(768, 192, mean()))

    def e(inputs, pool):
        def fork():
            return Side(same(384, (384, (1, 3))), same(384, (384, (3, 1))))
        return Side(same(inputs, (320, (1, 1))), nn.Sequential(same(inputs, (384, (1, 1))), fork()),
                    nn.Sequential(same(inputs, (448, (1, 1)), (384, (3, 3))), fork()), pooled(inputs, 192, pool))

    halve = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        ConvNorm(3, 32, 3, 2), ConvNorm(32, 32, 3), ConvNorm(32, 64, 3, padding=1), halve,
        ConvNorm(64, 80, 1), ConvNorm(80, 192, 3), halve, a(192, 32), a(256, 64), a(288, 64),
        Side(ConvNorm(288, 384, 3, 2), nn.Sequential(same(288, (64, (1, 1)), (96, (3, 3))), ConvNorm(96, 96, 3, 2)), halve),
        c(128), c(160), c(160), c(192),
        Side(nn.Sequential(same(768, (192, (1, 1))), ConvNorm(192, 320, 3, 2)),
             nn.Sequential(same(768, (192, (1, 1)), (192, (1, 7)), (192, (7, 1))), ConvNorm(192, 192, 3, 2)), halve),
        e(1280, mean()), e(2048, nn.MaxPool2d(3, 1, 1)), nn.AdaptiveAvgPool2d(1))


class Inception:
    """Features without gradients, as pytorch-fid computes them."""

    def __init__(self, batch, compiled):
        net = inception_network().eval()
        self.parameters = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
        self.net = torch.compile(net) if compiled else net
        self.x = torch.rand(batch, 3, 299, 299) * 2 - 1

    def __call__(self):
        with torch.inference_mode():
            return self.net(self.x)


def make(what, compiled):
    return {
        "inception": lambda: Inception(what["batch"], compiled),
        "step": lambda: Step(what, compiled),
        "forward": lambda: Forward(Step(what, compiled)),
        "layer": lambda: layer(what, compiled),
        "optimizer": lambda: Optimizer(what["sizes"]),
        "assignment": lambda: Assignment(what["count"], what["dim"], what["file"]),
        "structure": lambda: StructuralLoss(what["batch"], what["dim"], compiled),
        "graph": lambda: Graph(what["batch"], what["dim"]),
        "products": lambda: Products(what["shapes"]),
    }[what["type"]]()


# Seconds that a group of calls lasts at least: around a call of some microseconds the clock would measure itself.
GROUP = 2e-4


def timed(call, seconds, clock):
    """Times of a call, each the mean of a group, at least 3 until `seconds` are over."""
    times, calls, end = [], 1, time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun, group = time.perf_counter(), clock()
        for _ in range(calls):
            call()
        if DEVICE != "cpu":
            torch.cuda.synchronize()
        taken = clock() - group
        if time.perf_counter() - begun < GROUP:
            calls *= 2
        else:
            times.append(taken / calls)
    return times


def memory():
    """The most memory that this process has had at once, and what it has now."""
    with open("/proc/self/status") as status:
        numbers = dict(line.split(":", 1) for line in status)
    return {name: 1024 * int(numbers[key].split()[0]) for name, key in (("most", "VmHWM"), ("now", "VmRSS"))}


class Forward:
    """The network's answer alone, as a sampler asks for it."""

    def __init__(self, step):
        self.step, self.parameters = step, step.parameters
        step.net.eval()

    def __call__(self):
        with torch.inference_mode():
            self.step.net(self.step.x0, self.step.sigma, self.step.labels)


def main():
    if sys.stdin.isatty():
        sys.exit("pytorch.py answers requests of the bench side_by_side; start it with make bench")
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    # Ours multiplies f32 as f32; PyTorch's convolutions would not.
    torch.backends.cudnn.allow_tf32 = False
    out, made = os.fdopen(os.dup(1), "w"), {}
    os.dup2(2, 1)  # what a library prints must not reach the protocol
    for line in sys.stdin:
        request = json.loads(line)
        do, name = request["do"], request.get("name")
        try:
            if do == "hello":
                torch.set_default_device(DEVICE)
                torch.zeros(1)  # is it there?
                answer = {"version": torch.__version__, "threads": torch.get_num_threads()}
            elif do == "make":
                made[name] = make(request["what"], request["mode"] == "compile")
                for _ in range(3):  # warm up, and compile
                    made[name]()
                answer = {"parameters": made[name].parameters}
            elif do == "time":
                clock = time.process_time if request["cpu"] else time.perf_counter
                answer = {"times": timed(made[name], request["seconds"], clock)}
            elif do == "memory":
                answer = memory()
            elif do == "drop":
                made.pop(name, None)
                answer = {}
            else:
                raise ValueError(f"unknown request {do}")
        except Exception as error:  # the other side decides what to do
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
