"""RWKV-5 in plain PyTorch, token by token: the reference that the Rust program is held against.

Covers 5.0 (scalar decay, no gate), 5.1 (scalar decay, gate) and 5.2 (vector decay, gate).
Written for clarity, run in float64 where a truth is wanted. Orientation of a WKV state: [head, key, value].

    y_t = r_t (S + u * k_t^T v_t)        S <- diag(w) S + k_t^T v_t        w = exp(-exp(time_decay))
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Shape:
    version: str        # "5.0" | "5.1" | "5.2"
    vocab: int
    n_layer: int
    n_embd: int
    n_head: int
    n_ffn: int

    @property
    def head_size(self):
        return self.n_embd // self.n_head


def random_weights(shape: Shape, seed: int, dtype=torch.bfloat16, device="cpu") -> dict:
    """A checkpoint with the names, shapes and rough statistics of a real one; never all zeros, so nothing hides.

    Each kind of device draws other numbers from a seed.
    """
    g = torch.Generator(device).manual_seed(seed)
    C, H, L, Fd = shape.n_embd, shape.n_head, shape.n_layer, shape.n_ffn

    def normal(*size, std=1.0, mean=0.0):
        return (torch.randn(*size, generator=g, device=device) * std + mean).to(dtype)

    def uniform(*size, lo, hi):
        return (torch.rand(*size, generator=g, device=device) * (hi - lo) + lo).to(dtype)

    w = {"emb.weight": normal(shape.vocab, C, std=0.3)}
    for i in range(L):
        b = f"blocks.{i}."
        if i == 0:
            w[b + "ln0.weight"], w[b + "ln0.bias"] = normal(C, std=0.1, mean=1), normal(C, std=0.1)
        for ln in ("ln1", "ln2"):
            w[b + f"{ln}.weight"], w[b + f"{ln}.bias"] = normal(C, std=0.1, mean=1), normal(C, std=0.1)
        mixes = ("k", "v", "r") if shape.version == "5.0" else ("k", "v", "r", "g")
        for m in mixes:
            w[b + f"att.time_mix_{m}"] = uniform(1, 1, C, lo=0.05, hi=0.95)
        per_channel = shape.version == "5.2"
        size = (H, C // H) if per_channel else (H,)
        w[b + "att.time_decay"] = uniform(*size, lo=-6, hi=0.5)
        first = "time_first" if shape.version == "5.0" else "time_faaaa"
        w[b + f"att.{first}"] = uniform(*size, lo=-0.5, hi=0.8)
        names = ["receptance", "key", "value", "output"] + ([] if shape.version == "5.0" else ["gate"])
        for n in names:
            w[b + f"att.{n}.weight"] = normal(C, C, std=C ** -0.5)
        w[b + "att.ln_x.weight"], w[b + "att.ln_x.bias"] = normal(C, std=0.1, mean=1), normal(C, std=0.1)
        w[b + "ffn.time_mix_k"], w[b + "ffn.time_mix_r"] = uniform(1, 1, C, lo=0.05, hi=0.95), uniform(1, 1, C, lo=0.05, hi=0.95)
        w[b + "ffn.key.weight"] = normal(Fd, C, std=C ** -0.5)
        w[b + "ffn.receptance.weight"] = normal(C, C, std=C ** -0.5)
        w[b + "ffn.value.weight"] = normal(C, Fd, std=Fd ** -0.5)
    w["ln_out.weight"], w["ln_out.bias"] = normal(C, std=0.1, mean=1), normal(C, std=0.1)
    w["head.weight"] = normal(shape.vocab, C, std=C ** -0.5)
    return w


def detect(w: dict) -> Shape:
    vocab, C = w["emb.weight"].shape
    n_layer = 1 + max(int(k.split(".")[1]) for k in w if k.startswith("blocks."))
    decay = w["blocks.0.att.time_decay"]
    if decay.dim() > 1 and decay.shape[1] > 1:
        version = "5.2"
    elif "blocks.0.att.gate.weight" in w:
        version = "5.1"
    else:
        version = "5.0"
    return Shape(version, vocab, n_layer, C, decay.shape[0], w["blocks.0.ffn.key.weight"].shape[0])


class Rwkv5:
    def __init__(self, weights: dict, dtype=torch.float64):
        self.shape = detect(weights)
        self.w = {k: v.to(dtype) for k, v in weights.items()}
        self.dtype = dtype

    def zero_state(self):
        s = self.shape
        return (torch.zeros(2 * s.n_layer, s.n_embd, dtype=self.dtype),
                torch.zeros(s.n_layer, s.n_head, s.head_size, s.head_size, dtype=self.dtype))

    def forward(self, tokens, shifts=None, wkv=None, softprompt=None, rows=slice(None)):
        """tokens [T] -> (logits [T(+1 with a soft prompt), vocab], shifts', wkv'). rows: the positions that get logits.

        shifts [2*n_layer, n_embd]: row 2i is time-mix, row 2i+1 is channel-mix. wkv [n_layer, H, K, V].
        softprompt [n_embd] takes the place of a first token's embedding (before ln0).
        """
        s, w = self.shape, self.w
        if shifts is None:
            shifts, wkv = self.zero_state()
        C, H, N = s.n_embd, s.n_head, s.head_size
        x = w["emb.weight"][torch.as_tensor(tokens, dtype=torch.long)]
        if softprompt is not None:
            x = torch.cat([softprompt.reshape(1, C), x])
        T = x.shape[0]
        x = F.layer_norm(x, (C,), w["blocks.0.ln0.weight"], w["blocks.0.ln0.bias"])
        new_shifts, new_wkv = [], []
        for i in range(s.n_layer):
            a, f = f"blocks.{i}.att.", f"blocks.{i}.ffn."
            xx = F.layer_norm(x, (C,), w[f"blocks.{i}.ln1.weight"], w[f"blocks.{i}.ln1.bias"])
            prev = torch.cat([shifts[2 * i].reshape(1, C), xx[:-1]])
            new_shifts.append(xx[-1])
            mix = lambda m: xx * w[a + f"time_mix_{m}"].reshape(C) + prev * (1 - w[a + f"time_mix_{m}"].reshape(C))
            r = (mix("r") @ w[a + "receptance.weight"].T).view(T, H, N)
            k = (mix("k") @ w[a + "key.weight"].T).view(T, H, N)
            v = (mix("v") @ w[a + "value.weight"].T).view(T, H, N)
            decay = torch.exp(-torch.exp(w[a + "time_decay"])).reshape(H, -1, 1)
            first = torch.exp(w[a + "time_first"]) if a + "time_first" in w else w[a + "time_faaaa"]
            first = first.reshape(H, -1, 1)
            S, ys = wkv[i], []
            for t in range(T):
                kv = k[t].unsqueeze(-1) * v[t].unsqueeze(-2)
                ys.append((r[t].unsqueeze(-2) @ (S + first * kv)).squeeze(-2))
                S = decay * S + kv
            new_wkv.append(S)
            y = torch.stack(ys).reshape(T, C)
            y = F.group_norm(y, H, w[a + "ln_x.weight"], w[a + "ln_x.bias"], eps=64e-5)
            if s.version != "5.0":
                y = y * F.silu(mix("g") @ w[a + "gate.weight"].T)
            x = x + y @ w[a + "output.weight"].T
            xx = F.layer_norm(x, (C,), w[f"blocks.{i}.ln2.weight"], w[f"blocks.{i}.ln2.bias"])
            prev = torch.cat([shifts[2 * i + 1].reshape(1, C), xx[:-1]])
            new_shifts.append(xx[-1])
            fmix = lambda m: xx * w[f + f"time_mix_{m}"].reshape(C) + prev * (1 - w[f + f"time_mix_{m}"].reshape(C))
            k2 = torch.relu(fmix("k") @ w[f + "key.weight"].T) ** 2
            x = x + torch.sigmoid(fmix("r") @ w[f + "receptance.weight"].T) * (k2 @ w[f + "value.weight"].T)
        x = F.layer_norm(x[rows], (C,), w["ln_out.weight"], w["ln_out.bias"])
        return x @ w["head.weight"].T, torch.stack(new_shifts), torch.stack(new_wkv)

    def loss(self, batch, shifts, wkv, softprompt=None):
        """Mean next-token cross-entropy over the completion tokens of a batch of (prompt ids, completion ids)."""
        total, count = 0.0, 0
        for prompt, completion in batch:
            ids = list(prompt) + list(completion)
            lead = 1 if softprompt is not None else 0
            first = len(prompt) - 1 + lead        # the position that predicts the completion's first token
            if first < 0:
                first, completion = 0, completion[1:]
            logits, _, _ = self.forward(ids[:-1], shifts, wkv, softprompt, slice(first, first + len(completion)))
            logp = F.log_softmax(logits, -1)
            total = total - logp[torch.arange(len(completion)), torch.as_tensor(completion)].sum()
            count += len(completion)
        return total / count
