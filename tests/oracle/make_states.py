"""Writes ../golden/states: one small state in every format, as Python programs write them.

    python make_states.py

Two layers, two heads of three: element [l, h, key, value] of the matrices is its place in that order, by eight; the
shifts count likewise in the order att 0, ffn 0, att 1, ffn 1, and so does the soft prompt.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).parent.parent / "golden" / "states"
L, H, K = 2, 2, 3
C = H * K


def counted(*shape):
    return (torch.arange(torch.Size(shape).numel(), dtype=torch.float32) / 8).reshape(shape)


def main():
    OUT.mkdir(exist_ok=True)
    wkv, shifts, soft = counted(L, H, K, K), counted(2 * L, C), counted(C)  # wkv is [key, value]
    value_key = wkv.transpose(-1, -2).contiguous()
    bf16 = torch.bfloat16

    shifts4, wkv5 = shifts.to(bf16).reshape(2 * L, 1, 1, C), value_key.reshape(L, 1, H, K, K)
    torch.save([soft.to(bf16).reshape(1, 1, C), (shifts4, wkv5)], OUT / "state.pth")

    original = {}
    for i in range(L):
        original[f"blocks.{i}.att.shift.state"] = shifts[2 * i].to(bf16).reshape(1, 1, C)
        original[f"blocks.{i}.att.wkvstate"] = wkv[i].to(bf16).clone()
        original[f"blocks.{i}.ffn.shift.state"] = shifts[2 * i + 1].to(bf16).reshape(1, 1, C)
    torch.save(original, OUT / "original.pth")

    time_state = OrderedDict((f"blocks.{i}.att.time_state", value_key[i].to(bf16).clone()) for i in range(L))
    torch.save(time_state, OUT / "time_state.pth")
    torch.save(OrderedDict([("emb.weight", torch.zeros(10, C, dtype=bf16)), *time_state.items()]), OUT / "model.pth")
    save_file(dict(time_state), OUT / "unclear.safetensors")

    names = {f"blocks.{i}.att.time_state": wkv[i].to(torch.float16).clone() for i in range(L)}
    save_file(names, OUT / "web-rwkv.st")

    live = [t for i in range(L) for t in (shifts[2 * i].clone(), wkv[i].clone(), shifts[2 * i + 1].clone())]
    torch.save(live, OUT / "rwkv-live.pth")


main()
