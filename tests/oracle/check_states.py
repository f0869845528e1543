"""Loads what `state-tune convert` wrote, as the programs do that it is for: python check_states.py DIRECTORY 5|7

PyTorch with weights_only=True, safetensors, and the `rwkv` package from the merged model and from the live list, whose
logits are held against the program's own (model.json and rwkv-live.json beside them). For RWKV-7 the package's live
matrices are [value, key], and it starts from zeros whatever state is merged into a model.
"""

import json
import os
import sys
from pathlib import Path

os.environ["RWKV_JIT_ON"] = "0"
os.environ["RWKV_CUDA_ON"] = "0"
os.environ["RWKV_V7_ON"] = {"5": "0", "7": "1"}[sys.argv[2]]

import torch
from safetensors.torch import load_file

HERE, SEVEN = Path(sys.argv[1]), sys.argv[2] == "7"


def load(name):
    return torch.load(HERE / f"{name}.pth", weights_only=True, map_location="cpu")


def close(name, logits):
    wanted = torch.tensor(json.loads((HERE / f"{name}.json").read_text()))
    apart = ((logits.float() - wanted).abs().max() / wanted.abs().max()).item()
    print(f"{name}: logits {apart:.1e} apart")
    assert apart < 1e-4 and logits.argmax() == wanted.argmax(), name


def main():
    soft, (shifts, mix) = load("state")
    layers, heads, size = mix.shape[0], mix.shape[2], mix.shape[3]
    assert soft.shape == (1, 0, heads * size) and shifts.shape == (2 * layers, 1, 1, heads * size)
    live, original, time_state = load("rwkv-live"), load("original"), load("time_state")
    st = load_file(HERE / "web-rwkv.st")
    assert len(live) == 3 * layers and len(time_state) == len(st) == layers and len(original) == 3 * layers
    for i in range(layers):
        key_value = live[3 * i + 1].transpose(1, 2) if SEVEN else live[3 * i + 1]
        name = f"blocks.{i}.att"
        assert torch.equal(mix[i, 0], key_value.transpose(1, 2))
        assert torch.equal(original[f"{name}.wkvstate"], key_value.bfloat16())
        assert torch.equal(time_state[f"{name}.time_state"], key_value.transpose(1, 2).bfloat16())
        assert st[f"{name}.time_state"].dtype == torch.float16
        assert torch.equal(st[f"{name}.time_state"], key_value.half())

    from rwkv.model import RWKV

    tokens = json.loads((HERE / "tokens.json").read_text())
    # The package applies the first norm to the embeddings in the file's type, and so rounds them to bf16.
    torch.save({name: t.float() for name, t in load("model").items()}, HERE / "model32.pth")
    model = RWKV(model=str(HERE / "model32"), strategy="cpu fp32", **({} if SEVEN else {"verbose": False}))
    close("model", model.forward(tokens, None)[0])
    close("rwkv-live", model.forward(tokens, [t.clone() for t in live])[0])
    print("every format loads, and the rwkv package agrees")


main()
