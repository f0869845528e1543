"""State tuning in float64, token by token: what a correct training run must reproduce, step for step. RWKV-5 or RWKV-7.

    python train.py --model m.pth --data d.jsonl --batchsize 4 --steps 12 --learningrate 0.01 \
        --init zeros --out state.pth [--no-softprompt] [--prompt-cutoff N] [--completion-cutoff N]

Prints a JSON line per step: {"step", "loss", "tokens", "grad_norm"}. Writes the state as
[softprompt (1,1,C), (time_shifts (2L,1,1,C), time_mix (L,1,H,V,K))] in float32; the soft prompt is (1,0,C) where none
was tuned.

Conventions, which the Rust program shares:
- an example is encode(prompt) followed by encode(completion), each encoded by itself; cutoffs count TOKENS
  (last N of the prompt, first N of the completion);
- the soft prompt stands before the first token, so an empty prompt still predicts its first completion token;
- the loss is the mean over all completion tokens of the batch;
- Adam: beta 0.9 / 0.999, eps 1e-8, no weight decay, bias-corrected;
- sequential walk: step i takes examples i*B .. (i+1)*B, modulo the number of examples.
"""
import argparse
import json
import os

import torch

from reference import load_model

PROMPT, RESPONSE = "user: {input}\n\nassistant:", " {output}"


def tokenizer():
    import rwkv
    from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
    return TRIE_TOKENIZER(os.path.join(os.path.dirname(rwkv.__file__), "rwkv_vocab_v20230424.txt"))


def read_examples(path, tok, prompt=PROMPT, response=RESPONSE, prompt_cutoff=-1, completion_cutoff=-1):
    """The (prompt ids, completion ids) of each row of a JSONL file."""
    examples = []
    for line in open(path, encoding="utf-8"):
        if not line.strip():
            continue
        row = json.loads(line)
        x, y = tok.encode(prompt.format_map(row)), tok.encode(response.format_map(row))
        examples.append((x if prompt_cutoff < 0 else x[max(0, len(x) - prompt_cutoff):],
                         y if completion_cutoff < 0 else y[:completion_cutoff]))
    return examples


def tune(model, examples, steps, batchsize, learningrate, init, softprompt=True, each=None):
    """Tunes from a fresh state, in the model's dtype. Returns (a log entry per step, soft [C] or None, shifts [2L,C], wkv [L,H,K,V])."""
    s, fill = model.shape, 1.0 if init == "ones" else 0.0
    soft = torch.zeros(s.n_embd, dtype=model.dtype, requires_grad=True) if softprompt else None
    shifts = torch.full((2 * s.n_layer, s.n_embd), fill, dtype=model.dtype, requires_grad=True)
    wkv = torch.full((s.n_layer, s.n_head, s.head_size, s.head_size), fill, dtype=model.dtype, requires_grad=True)
    params = [shifts, wkv] + ([soft] if softprompt else [])
    opt = torch.optim.Adam(params, lr=learningrate)
    log = []
    for step in range(steps):
        batch = [examples[(step * batchsize + j) % len(examples)] for j in range(batchsize)]
        opt.zero_grad()
        loss = model.loss(batch, shifts, wkv, soft)
        loss.backward()
        norm = torch.sqrt(sum((q.grad ** 2).sum() for q in params)).item()
        opt.step()
        log.append({"step": step + 1, "loss": loss.item(), "tokens": sum(len(y) for _, y in batch), "grad_norm": norm})
        if each:
            each(log[-1])
    return log, soft.detach() if softprompt else None, shifts.detach(), wkv.detach()


def save_state(path, soft, shifts, wkv, dtype=torch.float32):
    """Writes the file layout; dtype is that of the soft prompt and the shifts."""
    (rows, C), (L, H, K, _) = shifts.shape, wkv.shape
    soft = torch.zeros(1, 0, C) if soft is None else soft.reshape(1, 1, C)
    torch.save([soft.to(dtype), (shifts.to(dtype).reshape(rows, 1, 1, C), wkv.float().reshape(L, 1, H, K, K).transpose(-1, -2).contiguous())], path)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--out", default="state.pth")
    p.add_argument("--batchsize", type=int, default=4)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--learningrate", type=float, default=0.01)
    p.add_argument("--init", choices=["zeros", "ones"], default="zeros")
    p.add_argument("--prompt-cutoff", type=int, default=-1)
    p.add_argument("--completion-cutoff", type=int, default=-1)
    p.add_argument("--prompt-formatter", default=PROMPT)
    p.add_argument("--response-formatter", default=RESPONSE)
    p.add_argument("--no-softprompt", action="store_true")
    a = p.parse_args()
    model = load_model(a.model)
    examples = read_examples(a.data, tokenizer(), a.prompt_formatter, a.response_formatter, a.prompt_cutoff, a.completion_cutoff)
    _, soft, shifts, wkv = tune(model, examples, a.steps, a.batchsize, a.learningrate, a.init, not a.no_softprompt,
                                lambda entry: print(json.dumps(entry), flush=True))
    save_state(a.out, soft, shifts, wkv)


if __name__ == "__main__":
    main()
