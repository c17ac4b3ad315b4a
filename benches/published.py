# The published networks on the PyTorch side: EDM's two U-Nets and the diffusion transformer, as a careful user would write
# them today (library layers, scaled_dot_product_attention, pooling and nearest neighbours where the filter is [1, 1]).
# Read before benches/pytorch.py, as one program.

import torch
import torch.nn.functional as F
from torch import nn


def waves(noise, count, last):
    """[cos, sin] of the noise times `count` frequencies from 1 down to 1e-4, to which the last is left out unless `last`."""
    k = torch.arange(count) / (count - 1 if last else count)
    phase = noise[:, None] * (1e-4**k)[None, :]
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def resample(x, how):
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


class EdmBlock(nn.Module):
    """Residual block; `c` holds what all blocks of a network share."""

    def __init__(self, c, inputs, outputs, how=None, heads=0):
        super().__init__()

        def norm(channels):
            return nn.GroupNorm(min(32, channels // 4), channels, eps=c["eps"])

        self.how, self.heads, self.adaptive, self.scale = how, heads, c["adaptive"], c["scale"]
        self.norm0, self.conv0 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(c["emb"], outputs * (2 if self.adaptive else 1))
        self.norm1, self.drop = norm(outputs), nn.Dropout(c["dropout"])
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        mapped = inputs != outputs or (how is not None and c["project"])
        self.skip = nn.Conv2d(inputs, outputs, 1) if mapped else nn.Identity()
        if heads:
            self.norm2 = norm(outputs)
            self.qkv, self.proj = nn.Conv2d(outputs, 3 * outputs, 1), nn.Conv2d(outputs, outputs, 1)

    def forward(self, x, emb):
        h = self.conv0(resample(F.silu(self.norm0(x)), self.how))
        affine = self.affine(emb)[:, :, None, None]
        if self.adaptive:
            scale, shift = affine.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), 1 + scale))
        else:
            h = F.silu(self.norm1(h + affine))
        x = (self.conv1(self.drop(h)) + self.skip(resample(x, self.how))) * self.scale
        if not self.heads:
            return x
        b, c, height, width = x.shape
        q, k, v = self.qkv(self.norm2(x)).reshape(b, self.heads, c // self.heads, 3, -1).permute(3, 0, 1, 4, 2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, height, width)
        return (x + self.proj(y)) * self.scale


class EdmUNet(nn.Module):
    """Encoder, decoder and their skips, which both of EDM's networks have."""

    def __init__(self, c, image, shared, heads, attends_up):
        super().__init__()
        unit, blocks, sides = c["model_channels"], c["num_blocks"], image["size"]
        shared.update(emb=unit * c["channel_mult_emb"], dropout=c["dropout"])
        width = unit * (c["channel_mult"][0] if shared["adaptive"] else 1)
        self.conv = nn.Conv2d(image["channels"], width, 3, padding=1)
        self.down, self.up, skips = nn.ModuleList(), nn.ModuleList(), [width]

        def block(inputs, outputs, how=None, attention=False):
            return EdmBlock(shared, inputs, outputs, how, heads(outputs) if attention else 0)

        for level, mult in enumerate(c["channel_mult"]):
            attention = sides >> level in c["attn_resolutions"]
            if level:
                self.down.append(block(width, width, "down"))
                skips.append(width)
            for _ in range(blocks):
                self.down.append(block(width, unit * mult, None, attention))
                width = unit * mult
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, None, True), block(width, width)])
        # A decoder block with whether it takes what the encoder left.
        self.takes = []
        for level, mult in reversed(list(enumerate(c["channel_mult"]))):
            attention = sides >> level in c["attn_resolutions"]
            if level + 1 < len(c["channel_mult"]):
                self.up.append(block(width, width, "up"))
                self.takes.append(False)
            for i in range(blocks + 1):
                here = attention and attends_up(i, blocks)
                self.up.append(block(width + skips.pop(), unit * mult, None, here))
                self.takes.append(True)
                width = unit * mult
        self.norm = nn.GroupNorm(min(32, width // 4), width, eps=shared["eps"])
        self.out = nn.Conv2d(width, image["channels"], 3, padding=1)

    def features(self, x, emb):
        x = self.conv(x)
        skips = [x]
        for block in self.down:
            x = block(x, emb)
            skips.append(x)
        for block in self.middle:
            x = block(x, emb)
        for block, takes in zip(self.up, self.takes):
            x = block(torch.cat([x, skips.pop()], dim=1) if takes else x, emb)
        return self.out(F.silu(self.norm(x)))


class SongUNet(EdmUNet):
    """DDPM++."""

    def __init__(self, c, image):
        assert c["embedding_type"] == "positional" and c["encoder_type"] == c["decoder_type"] == "standard"
        assert c["resample_filter"] == [1, 1]
        shared = {"eps": 1e-6, "adaptive": False, "scale": 0.5**0.5, "project": True}
        super().__init__(c, image, shared, lambda _: 1, lambda i, blocks: i == blocks)
        self.count, self.classes = c["model_channels"] * c["channel_mult_noise"], image["classes"]
        self.label = nn.Linear(self.classes, self.count)
        emb = shared["emb"]
        self.layers = nn.Sequential(nn.Linear(self.count, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())

    def forward(self, x, noise, labels):
        rows = F.one_hot(labels, self.classes) * self.classes**0.5
        return self.features(x, self.layers(waves(noise, self.count // 2, True).roll(self.count // 2, 1) + self.label(rows)))


class DhariwalUNet(EdmUNet):
    """ADM."""

    def __init__(self, c, image):
        shared = {"eps": 1e-5, "adaptive": True, "scale": 1.0, "project": False}
        super().__init__(c, image, shared, lambda channels: channels // 64, lambda i, blocks: True)
        self.count, self.classes = c["model_channels"], image["classes"]
        emb = shared["emb"]
        self.layers = nn.Sequential(nn.Linear(self.count, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = nn.Linear(self.classes, emb, bias=False)

    def forward(self, x, noise, labels):
        rows = F.one_hot(labels, self.classes).float()
        return self.features(x, F.silu(self.layers(waves(noise, self.count // 2, False)) + self.label(rows)))


class DitBlockOf(nn.Module):
    """Block of the published transformer."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.ada = nn.Linear(dim, 6 * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))

    def forward(self, x, emb):
        b, t, d = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.ada(emb)[:, None].chunk(6, dim=2)
        h = torch.addcmul(shift1, self.norm(x), 1 + scale1)
        q, k, v = self.qkv(h).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x = torch.addcmul(x, gate1, self.proj(h))
        return torch.addcmul(x, gate2, self.mlp(torch.addcmul(shift2, self.norm(x), 1 + scale2)))


class Dit(nn.Module):
    """The published transformer; of its 2C channels the first C are the prediction."""

    def __init__(self, c, image):
        super().__init__()
        dim, self.patch, self.channels = c["hidden_size"], c["patch_size"], image["channels"]
        side = image["size"] // self.patch
        self.embed = nn.Conv2d(self.channels, dim, self.patch, stride=self.patch)
        self.register_buffer("positions", torch.randn(1, side * side, dim))
        self.time = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.table = nn.Embedding(image["classes"] + 1, dim)
        hidden = int(dim * c["mlp_ratio"])
        self.blocks = nn.ModuleList(DitBlockOf(dim, c["num_heads"], hidden) for _ in range(c["depth"]))
        self.norm, self.ada = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False), nn.Linear(dim, 2 * dim)
        self.numbers = self.channels * (2 if c["learn_sigma"] else 1)
        self.out = nn.Linear(dim, self.numbers * self.patch**2)

    def forward(self, x, noise, labels):
        b, _, size, _ = x.shape
        h = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        emb = F.silu(self.time(waves(noise, 128, False)) + self.table(labels))
        for block in self.blocks:
            h = block(h, emb)
        shift, scale = self.ada(emb)[:, None].chunk(2, dim=2)
        y = self.out(torch.addcmul(shift, self.norm(h), 1 + scale))
        p, s = self.patch, size // self.patch
        y = y.reshape(b, s, s, p, p, self.numbers).permute(0, 5, 1, 3, 2, 4).reshape(b, self.numbers, size, size)
        return y[:, : self.channels]


PUBLISHED = {"song-unet": SongUNet, "dhariwal-unet": DhariwalUNet, "dit": Dit}


