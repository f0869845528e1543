"""The long check: random models and data, tuned by the reference in float64 and by the program, step for step.

    python compare.py --binary ../../target/release/state-tune [--quick] [--dtype f32|bf16] [--case N] [--keep DIR]
    python compare.py --binary ../../target/release/state-tune --provoke

The second form runs models on which rounding grows from step to step, and beside the program the same reference in
PyTorch's float32: it judges nothing, and shows how close float32 can be expected to come.

One line per case: the largest relative difference of a step's loss, and the relative norm of the difference of the saved
soft prompt, shifts and WKV matrices. Exit status 1 if any case fails. The model files are made here, so nothing is
downloaded; a full run takes minutes, most of them in the reference.
"""
import argparse
import json
import math
import os
import re
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import torch

import rwkv5
import rwkv7
from greedy import answers, load_state
from reference import of_weights
from train import PROMPT, read_examples, tokenizer, tune

LEARNING_RATE = 0.01
EXAMPLES = 11               # no multiple of a batch size but 1, so the sequential walk wraps inside a batch
LONGEST = 300               # tokens, about, of a prompt and of a completion
ANSWER_TOKENS = 50
# Relative differences allowed. Soft prompt and shifts are saved in bf16, which alone costs 2e-3. Under bf16 matrices a
# gradient near zero may change its sign, and Adam's first steps go by the sign, so that two right runs may end in states
# far apart (0.6 has been seen of PyTorch itself): the figures are shown, and the losses alone judged.
TOLERANCES = {
    "f32": {"loss": 2e-5, "soft": 1e-2, "shifts": 1e-2, "wkv": 1e-3},
    "bf16": {"loss": 2e-2, "soft": math.inf, "shifts": math.inf, "wkv": math.inf},
}


@dataclass
class Case:
    version: str
    n_layer: int
    n_embd: int
    head_size: int
    batchsize: int
    init: str
    softprompt: bool
    prompt: str = PROMPT    # "{input}" alone lets a prompt be empty, which only a soft prompt can stand before
    steps: int = 20

    def name(self):
        return (f"{self.version} layers {self.n_layer} embd {self.n_embd:3} head {self.head_size} batch {self.batchsize} {self.init:5} "
                f"{'soft,' if self.softprompt else ''}shift,wkv{' bare' if self.prompt != PROMPT else ''}")


CASES = [
    Case("5.2", 2, 128, 64, 3, "zeros", True, "{input}"),
    Case("5.1", 3, 64, 32, 2, "ones", False),
    Case("5.0", 2, 64, 64, 1, "ones", True),
    Case("5.2", 3, 64, 32, 8, "ones", False),
    Case("5.2", 2, 64, 64, 1, "ones", True, "{input}"),
    Case("5.2", 3, 128, 32, 5, "zeros", True),
    Case("5.1", 2, 128, 64, 4, "zeros", True, "{input}"),
    Case("5.1", 2, 64, 64, 7, "zeros", False),
    # Rounding grows from step to step here, in PyTorch's float32 as well: see PROVOKING.
    Case("5.0", 3, 128, 64, 6, "zeros", True, "{input}", steps=6),
    Case("5.0", 2, 64, 32, 3, "zeros", False),
    Case("7", 2, 128, 64, 3, "zeros", True, "{input}"),
    Case("7", 3, 64, 32, 1, "ones", True, "{input}"),
    Case("7", 4, 128, 32, 8, "ones", False),
    Case("7", 2, 256, 64, 2, "zeros", False),
]
QUICK = [0, 1, 2, 10]       # one of each generation's versions

# A soft prompt of zeros before an empty prompt: runs on which Adam's sign-like first steps magnify rounding.
PROVOKING = [
    Case("5.0", 3, 128, 64, 6, "zeros", True, "{input}"),
    Case("5.0", 3, 128, 64, 6, "ones", True, "{input}"),
    Case("5.2", 3, 128, 32, 4, "zeros", True, "{input}"),
    Case("5.2", 3, 128, 32, 4, "ones", True, "{input}"),
    Case("7", 2, 256, 64, 8, "zeros", True, "{input}"),
    Case("7", 2, 256, 64, 8, "ones", True, "{input}"),
]
PROVOKING_SEEDS = 4

WORDS = ("the a of state answer, World! (x) {not} {input} \\n \"quoted\" it's 3.14 2024 привет мир, Ελλάς 你好 世界。 ひらがな カタカナ 한국어 "
         "مرحبا שלום नमस्ते ภาษาไทย naïve façade 😀 👩‍🚀 🇫🇷 → ∑ € \n \n\n \t").split(" ")


def random_text(rng, tok, tokens):
    text = ""
    while len(tok.encode(text)) < tokens:
        text += rng.choice(["", " ", " "]) + rng.choice(WORDS)
    return text


def random_answer(rng, tok, tokens):
    """One that can be learnt, which a blank one cannot."""
    text = ""
    while not text.strip():
        text = random_text(rng, tok, max(tokens, 1))
    return text


def write_data(path, rng, tok):
    """Lengths from empty to LONGEST, short ones likelier: the reference takes its time over long ones."""
    length = lambda: int(math.exp(rng.uniform(0, math.log(LONGEST + 1)))) - rng.randint(0, 1)
    sizes = [(0, 0), (LONGEST, 1), (2, LONGEST)] + [(length(), length()) for _ in range(EXAMPLES - 3)]
    rng.shuffle(sizes)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        for p, c in sizes:
            row = {"input": random_text(rng, tok, p), "output": random_answer(rng, tok, c)}
            f.write(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n")


def run(command):
    """The program's standard output. Bytes, as text mode would rewrite \\r."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
    return done.stdout.decode("utf-8", "replace")


def run_binary(binary, case, steps, dtype, files):
    # Half a step more than wanted, so that floor(max_epochs * examples / batchsize) cannot fall short by rounding.
    epochs = (steps + 0.5) * case.batchsize / EXAMPLES
    run([binary, "--model_location", files["model"], "--data_path", files["data"], "--save_filename", files["state"], "--log_file", files["log"],
         "--tune", "softprompt,shift,wkv" if case.softprompt else "shift,wkv", "--init", case.init, "--prompt_formatter", case.prompt,
         "--batchsize", str(case.batchsize), "--learningrate", str(LEARNING_RATE), "--max_epochs", repr(epochs), "--dataset_walk", "sequential",
         "--exit_loss", "-1", "--max_time", "100000", "--dtype", dtype, "--seed", "1"])
    entries = [json.loads(line) for line in open(files["log"], encoding="utf-8") if line.strip()]
    return [e for e in entries if "step" in e and "loss" in e]


def binary_answers(text):
    """(base, tuned) from the output of --prompt: each heading's next lines, less the one that says what ended them."""
    found = re.fullmatch(r"== base model ==\n(.*)\n\[[^\n]*\]\n\n== tuned state ==\n(.*)\n\[[^\n]*\]\n", text, re.DOTALL)
    if not found:
        raise RuntimeError(f"no headings in the answers: {text[:500]!r}")
    return found.groups()


def check_layout(path, case):
    """What the file promises other programs, beyond the numbers."""
    soft, (shifts, wkv) = torch.load(path, weights_only=True)
    L, C, K = case.n_layer, case.n_embd, case.head_size
    got = [(tuple(t.shape), t.dtype) for t in (soft, shifts, wkv)]
    want = [((1, int(case.softprompt), C), torch.bfloat16), ((2 * L, 1, 1, C), torch.bfloat16), ((L, 1, C // K, K, K), torch.float32)]
    return [] if got == want else [f"layout {got}, not {want}"]


def relative(got, want):
    """Norm of the difference by the norm of what is wanted; NaN counts as infinitely wrong."""
    value = ((got - want).norm() / want.norm()).item()
    return value if math.isfinite(value) else math.inf


def same_answers(binary, files, model, tok, state, prompt):
    want = answers(model, tok, state, prompt, ANSWER_TOKENS)
    base, tuned = binary_answers(run([binary, "--model_location", files["model"], "--save_filename", state, "--dtype", "f32", "--prompt", prompt]))
    # Where two tokens are all but equally likely, rounding chooses. Blanks at the ends are the program's layout.
    if want["min_margin"] < 1e-4 or (base.strip(), tuned.strip()) == (want["base"].strip(), want["tuned"].strip()):
        return []
    return [f"answers {(base, tuned)!r}, not {(want['base'], want['tuned'])!r}"]


def differences(losses, soft, shifts, wkv, want):
    """The worst relative difference of a loss, and that of each part of the state, from a run of the reference."""
    tensor = lambda values: torch.tensor([v if v is not None else math.nan for v in values], dtype=torch.float64)
    log, want_soft, want_shifts, want_wkv = want
    want_losses = tensor([e["loss"] for e in log])
    figures = {"loss": ((tensor(losses) - want_losses).abs() / want_losses).nan_to_num(math.inf).max().item()}
    if want_soft is not None:
        figures["soft"] = relative(soft, want_soft)
    return figures | {"shifts": relative(shifts, want_shifts), "wkv": relative(wkv, want_wkv)}


def random_weights(case, seed):
    sizes = (65536, case.n_layer, case.n_embd, case.n_embd // case.head_size, case.n_embd * 7 // 64 * 32)
    if case.version != "7":
        return rwkv5.random_weights(rwkv5.Shape(case.version, *sizes), seed)
    # Ranks that no kernel's width divides.
    ranks = (12 + seed, 33 + seed, 7 + seed, 50 + seed)
    return rwkv7.random_weights(rwkv7.Shape(*sizes, *ranks), seed)


def check(binary, case, seed, steps, dtype, tok, folder, beside=False):
    """Returns (worst figures, what is wrong); `beside`: also figures of the reference in float32."""
    files = {k: os.path.join(folder, k + end) for k, end in (("model", ".pth"), ("data", ".jsonl"), ("state", ".pth"), ("log", ".jsonl"))}
    weights = random_weights(case, seed)
    torch.save(weights, files["model"])
    write_data(files["data"], random.Random(seed), tok)

    model = of_weights(weights)
    examples = read_examples(files["data"], tok, case.prompt)
    job = (examples, steps, case.batchsize, LEARNING_RATE, case.init, case.softprompt)
    reference = tune(model, *job)
    want = reference[0]
    if binary is None:
        return {"reference's last loss": want[-1]["loss"]}, []
    got = run_binary(binary, case, steps, dtype, files)

    wrong = check_layout(files["state"], case)
    for key in ("step", "tokens"):
        if [e.get(key) for e in got] != [e[key] for e in want]:
            wrong.append(f"{key} {[e.get(key) for e in got]}, not {[e[key] for e in want]}")
    if wrong:
        return {}, wrong
    figures = differences([e["loss"] for e in got], *load_state(files["state"], model.shape), reference)
    wrong = [f"{k} over {TOLERANCES[dtype][k]}" for k, v in figures.items() if not v <= TOLERANCES[dtype][k]]
    if beside:
        log, *state = tune(of_weights(weights, torch.float32), *job)
        figures |= {f"{k} (PyTorch)": v for k, v in differences([e["loss"] for e in log], *state, reference).items()}
    if dtype == "f32" and not beside:
        wrong += same_answers(binary, files, model, tok, files["state"], PROMPT.format(input="What is your name? 名前は?"))
    return figures, wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--binary", help="path to state-tune; without it only the reference half runs")
    p.add_argument("--quick", action="store_true", help="one case of each version, 6 steps each")
    p.add_argument("--dtype", choices=sorted(TOLERANCES), default="f32")
    p.add_argument("--case", type=int, help="this case alone, from 0")
    p.add_argument("--provoke", action="store_true", help="models that magnify rounding, beside PyTorch in float32")
    p.add_argument("--keep", help="leave the files of each case in this folder")
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.binary:
        a.binary = os.path.abspath(a.binary)
    tok, failed = tokenizer(), 0
    if a.provoke:
        chosen = [(case, seed) for case in PROVOKING for seed in range(1, PROVOKING_SEEDS + 1)]
    else:
        chosen = [(CASES[i], i + 1) for i in ([a.case] if a.case is not None else QUICK if a.quick else range(len(CASES)))]
    with tempfile.TemporaryDirectory() as scratch:
        for i, (case, seed) in enumerate(chosen):
            folder = os.path.join(a.keep or scratch, f"case{i}")
            os.makedirs(folder, exist_ok=True)
            try:
                figures, wrong = check(a.binary, case, seed, 6 if a.quick else case.steps, a.dtype, tok, folder, a.provoke)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                figures, wrong = {}, [str(error)]
            failed += bool(wrong) and not a.provoke
            worst = "  ".join(f"{k} {v:.2g}" for k, v in figures.items())
            print(f"{'FAIL' if wrong else 'ok  '} seed {seed} {case.name()}:  {worst}", *wrong, sep="\n     ", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
