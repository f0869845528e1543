"""What rounding alone does to a model's gradients: the float64 reference with some of its numbers rounded to bf16.

    python rounding.py [--seeds 52 101 102 103 104]

Each line is a random RWKV-5.2 model (seed 52 is that of ../golden), and how far the gradients of shifts, WKV matrices and
soft prompt are from float64's, relative by norm, when

    products   what products take is rounded, forwards and backwards (the program on a processor, --dtype bf16)
    stored     what they give is rounded, too (the program on a GPU)

It shows how much of a difference to float64 is the type's and none of the program's.
"""
import argparse
import inspect
import os
import re
import sys
import types

import torch
from safetensors.torch import load_file

import rwkv5

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "golden_5.2.safetensors")
# Of each place, whether its value (>) and its gradient (<) go into a product.
PRODUCTS = {"mix>", "z>", "k2>", "r<", "k<", "v<", "g<", "fk<", "fr<", "fv<"}
STORED = PRODUCTS | {"mix<", "z<", "k2<", "r>", "k>", "v>", "g>", "fk>", "fr>", "fv>", "y>", "y<"}

rounded = set()


class Rounding(torch.autograd.Function):
    @staticmethod
    def forward(context, x, place):
        context.place = place
        return x.bfloat16().to(x.dtype) if place + ">" in rounded else x

    @staticmethod
    def backward(context, gradient):
        return gradient.bfloat16().to(gradient.dtype) if context.place + "<" in rounded else gradient, None


def with_places():
    """The reference's own text, with each place where a number is stored given a name."""
    text = inspect.getsource(rwkv5)
    for name in "rkv":
        text = text.replace(f'(mix("{name}") @ w[a + "', f'(place("{name}", place("mix", mix("{name}")) @ w[a + "')
    text = re.sub(r'(\(place\("[rkv]".*?\.T)\)\.view', r"\1)).view", text)
    for old, new in (
        ('torch.stack(ys).reshape(T, C)', 'place("y", torch.stack(ys).reshape(T, C))'),
        ('F.silu(mix("g") @ w[a + "gate.weight"].T)', 'F.silu(place("g", place("mix", mix("g")) @ w[a + "gate.weight"].T))'),
        ("x = x + y @", 'x = x + place("z", y) @'),
        ('torch.relu(fmix("k") @ w[f + "key.weight"].T) ** 2', 'place("k2", torch.relu(place("fk", place("mix", fmix("k")) @ w[f + "key.weight"].T)) ** 2)'),
        ('fmix("r") @ w[f + "receptance.weight"].T', 'place("fr", place("mix", fmix("r")) @ w[f + "receptance.weight"].T)'),
        ('(k2 @ w[f + "value.weight"].T)', 'place("fv", k2 @ w[f + "value.weight"].T)'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    module = types.ModuleType("rwkv5_with_places")
    module.place = lambda name, x: Rounding.apply(x, name)
    sys.modules[module.__name__] = module       # where dataclass looks its class up
    exec(compile(text, "rwkv5", "exec"), module.__dict__)
    return module.Rwkv5


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, nargs="+", default=[52, 101, 102, 103, 104])
    model_of = with_places()
    numbers = load_file(GOLDEN)
    ids, batch = numbers["batch_ids"].tolist(), []
    for prompt, completion in zip(numbers["batch_prompt_lengths"].tolist(), numbers["batch_completion_lengths"].tolist()):
        batch.append((ids[:prompt], ids[prompt:prompt + completion]))
        ids = ids[prompt + completion:]
    for seed in p.parse_args().seeds:
        model = model_of(rwkv5.random_weights(rwkv5.Shape("5.2", 160, 2, 64, 2, 224), seed))

        def gradients(places):
            rounded.clear()
            rounded.update(places)
            state = [numbers[name].clone().requires_grad_() for name in ("shifts", "wkv", "soft")]
            return torch.autograd.grad(model.loss(batch, *state), state)

        exact = gradients(())
        for name, places in (("products", PRODUCTS), ("stored", STORED)):
            off = [((a - b).norm() / b.norm()).item() for a, b in zip(gradients(places), exact)]
            print(f"seed {seed:3} {name:8}  shifts {off[0]:.1e}  wkv {off[1]:.1e}  soft {off[2]:.1e}", flush=True)


if __name__ == "__main__":
    main()
