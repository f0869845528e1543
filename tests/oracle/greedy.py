"""Greedy decoding by the float64 reference, base and tuned: python greedy.py --model m.pth --state state.pth --prompt "..." [--tokens 50]

Prints one JSON object: {"base": text, "tuned": text, "base_ids": [...], "tuned_ids": [...], "min_margin": smallest gap
between the best and the second-best logit met on the way (a small one means that rounding may choose otherwise)}.
Decoding ends at the token that decodes to two newlines, at token 0, or after --tokens.
"""
import argparse
import codecs
import json

import torch

from reference import load_model
from train import tokenizer


def decode(model, tok, ids, limit, shifts=None, wkv=None, soft=None):
    with torch.no_grad():
        logits, shifts, wkv = model.forward(ids, shifts, wkv, soft)
        out, margin = [], float("inf")
        for _ in range(limit):
            top = logits[-1].topk(2)
            margin = min(margin, (top.values[0] - top.values[1]).item())
            nxt = top.indices[0].item()
            if nxt == 0 or tok.idx2token.get(nxt) == b"\n\n":
                break
            out.append(nxt)
            logits, shifts, wkv = model.forward([nxt], shifts, wkv)
    return out, margin


def load_state(path, shape, dtype=torch.float64):
    """state.pth -> (soft [C] or None, shifts [2L,C], wkv [L,H,K,V])."""
    soft, (shifts, wkv) = torch.load(path, weights_only=True)
    C, K = shape.n_embd, shape.head_size
    return (soft.to(dtype).reshape(C) if soft.numel() else None, shifts.to(dtype).reshape(2 * shape.n_layer, C),
            wkv.to(dtype).reshape(shape.n_layer, shape.n_head, K, K).transpose(-1, -2))


def answers(model, tok, state_path, prompt, limit):
    soft, shifts, wkv = load_state(state_path, model.shape, model.dtype)
    ids = tok.encode(prompt)
    base, m1 = decode(model, tok, ids, limit)
    tuned, m2 = decode(model, tok, ids, limit, shifts, wkv, soft)
    # A model may choose an id that the vocabulary leaves out: that shows as U+FFFD. A last character that the limit cut
    # in two is left out.
    text = lambda t: codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(tok.idx2token.get(i, b"\xef\xbf\xbd") for i in t))
    return {"base": text(base), "tuned": text(tuned), "base_ids": base, "tuned_ids": tuned, "min_margin": min(m1, m2)}


def main():
    p = argparse.ArgumentParser()
    for name in ("model", "state", "prompt"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--tokens", type=int, default=50)
    a = p.parse_args()
    model = load_model(a.model)
    print(json.dumps(answers(model, tokenizer(), a.state, a.prompt.replace("\\n", "\n"), a.tokens)))


if __name__ == "__main__":
    main()
