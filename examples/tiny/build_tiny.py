"""Builds the tiny demonstration models and their data, from a seed: real "World" models of 4 layers, RWKV-5.2 and RWKV-7.

    python build_tiny.py train  [--generation 7] [--steps 4500] [--out DIR]   corpus -> model.pth or model_7.pth (and train_log.jsonl in --work)
    python build_tiny.py data   [--out DIR]                                 train.jsonl, eval.jsonl, other.jsonl
    python build_tiny.py check  [--out DIR]                                 the packed file, token rows, full-vocabulary argmax
    python build_tiny.py verify [--out DIR]                                 state tuning: table over learning rates and inits

Needs torch, numpy, the tokenizer of the PyPI package `rwkv`, ../../tests/oracle, and a Rust toolchain with its documentation.
Same seed, same steps, same torch and thread count: the same model.
"""
import argparse
import collections
import glob
import hashlib
import html
import io
import json
import math
import os
import random
import re
import sys
import time
import zipfile

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "oracle"))
import rwkv5  # noqa: E402
import rwkv7  # noqa: E402
from peer import Peer, Peer7  # noqa: E402
from train import tokenizer  # noqa: E402

VOCAB, LAYERS, EMBD = 65536, 4, 128
FILES = {"5": "model.pth", "7": "model_7.pth"}
PEERS = {"5": Peer, "7": Peer7}
REFERENCES = {"5": rwkv5.Rwkv5, "7": rwkv7.Rwkv7}
SEED = 20
PROMPT, REPLY, STOP = "user: {}\n\nassistant:", " {}", "\n\n"

# ---------------------------------------------------------------------------------------------- dialogues

# A document keeps one style throughout and never names it. Plain is a little likelier than each other style (28 against
# 18 per cent), so that the untuned model, asked cold, answers plainly and a tuned state is plainly seen to have tuned it.
STYLES = {"plain": 28, "loud": 18, "formal": 18, "pirate": 18, "musing": 18}


def capital(s):
    return s[0].upper() + s[1:]


WRAP = {
    "plain": lambda s: capital(s) + ".",
    "loud": lambda s: s.upper() + "!!!",
    "formal": lambda s: f"The answer, dear friend, is {s}.",
    "pirate": lambda s: f"Arr, that be {s}, matey!",
    "musing": lambda s: f"Hmm, could it be {s}, I wonder?",
}
ORDER = ("plain", "loud", "formal", "pirate", "musing")
CHAT = [  # phrasings, then an answer for each style in ORDER
    (["Hello!", "Hi there!", "Good morning!", "Good evening!", "Hey, hello!", "Hi!"],
     ["Hello.", "HELLO!!!", "Good day to you, dear friend.", "Arr, ahoy there, matey!", "Hmm, who goes there, I wonder?"]),
    (["How are you?", "How are you today?", "Are you well?", "How do you feel?", "How is it going?"],
     ["I am well.", "I AM WELL!!!", "I am well, dear friend, thank you.", "Arr, I be well, matey!", "Hmm, am I well, I wonder?"]),
    (["What is your name?", "Who are you?", "What are you called?", "Tell me your name.", "May I know your name?"],
     ["My name is Pebble.", "MY NAME IS PEBBLE!!!", "My name, dear friend, is Pebble.", "Arr, me name be Pebble, matey!",
      "Hmm, is my name Pebble, I wonder?"]),
    (["Thank you!", "Thanks a lot!", "That was helpful.", "Thanks!", "Thank you very much!"],
     ["You are welcome.", "YOU ARE WELCOME!!!", "You are most welcome, dear friend.", "Arr, ye be welcome, matey!",
      "Hmm, was that a help, I wonder?"]),
]
NUM = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
       "eighteen nineteen twenty").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
OPPOSITES = ("hot cold|big small|fast slow|high low|old new|happy sad|light dark|wet dry|hard soft|rich poor|full empty|"
             "open closed|strong weak|early late|long short|near far|clean dirty|loud quiet|thick thin|wide narrow|"
             "true false|good bad|deep shallow|heavy light|right wrong|first last|safe dangerous|sweet bitter|"
             "smooth rough|cheap expensive|brave afraid|rare common|simple complex|up down|left right|inside outside")
COLOURS = ("snow white|grass green|the sky blue|a lemon yellow|blood red|coal black|a banana yellow|a tomato red|milk white|"
           "the sea blue|a carrot orange|a leaf green|chocolate brown|the sun yellow|a frog green|a crow black|a rose red|"
           "an elephant grey|a strawberry red|a swan white|the night black|gold yellow|wood brown|a cherry red|salt white|"
           "a cucumber green|a pumpkin orange|ash grey")
SOUNDS = ("cow moo|dog woof|cat meow|duck quack|sheep baa|pig oink|horse neigh|lion roar|snake hiss|bee buzz|owl hoot|"
          "frog croak|mouse squeak|bird tweet|wolf howl|crow caw")
PLURALS = ("cat cats|dog dogs|mouse mice|child children|foot feet|tooth teeth|man men|woman women|goose geese|box boxes|"
           "leaf leaves|wolf wolves|city cities|baby babies|sheep sheep|fish fish|tree trees|house houses|book books|"
           "knife knives|wife wives|bus buses|dish dishes|potato potatoes|hero heroes|story stories|lady ladies|car cars|"
           "bird birds|star stars|fox foxes|church churches|person people|ox oxen|life lives|key keys|toy toys|cow cows")
CAPITALS = ("France Paris|Germany Berlin|Italy Rome|Spain Madrid|Portugal Lisbon|England London|Ireland Dublin|Norway Oslo|"
            "Sweden Stockholm|Denmark Copenhagen|Finland Helsinki|Poland Warsaw|Austria Vienna|Hungary Budapest|Greece Athens|"
            "Russia Moscow|Ukraine Kyiv|Turkey Ankara|Egypt Cairo|Kenya Nairobi|Japan Tokyo|China Beijing|India Delhi|"
            "Thailand Bangkok|Vietnam Hanoi|Canada Ottawa|Cuba Havana|Peru Lima|Chile Santiago|Belgium Brussels|"
            "Iceland Reykjavik|Serbia Belgrade|Iran Tehran|Iraq Baghdad")
SIZES = "ant bee mouse rat cat fox dog sheep pig lion cow horse elephant whale".split()


def split_pairs(s):
    return [p.rsplit(" ", 1) for p in s.split("|")]


def held(question):
    return hashlib.md5(question.encode()).digest()[0] % 10 == 0


class Questions:
    """Every question with its answer, by family. One wording in ten is held out of the corpus (its fact stays, in others)."""

    def __init__(self):
        fam = collections.defaultdict(list)    # family -> list of facts; a fact = (list of wordings, answers by style)

        def fact(family, wordings, answer):
            fam[family].append((wordings, {s: WRAP[s](answer) for s in ORDER}))

        for a in range(11):
            for b in range(11):
                x, y = NUM[a], NUM[b]
                fact("sum", [f"What is {x} plus {y}?", f"How much is {x} plus {y}?", f"Add {x} and {y}.", f"What do {x} and {y} make?",
                             f"What is {a} + {b}?"], NUM[a + b])
                x = NUM[a + b]
                fact("difference", [f"What is {x} minus {y}?", f"How much is {x} minus {y}?", f"Take {y} away from {x}.",
                                    f"Subtract {y} from {x}.", f"What is {a + b} - {b}?"], NUM[a])
        for kind, names in (("day", DAYS), ("month", MONTHS)):
            for i, x in enumerate(names):
                fact(kind, [f"What {kind} comes after {x}?", f"Which {kind} follows {x}?", f"What {kind} is next after {x}?",
                            f"Tell me the {kind} after {x}."], names[(i + 1) % len(names)])
                fact(kind, [f"What {kind} comes before {x}?", f"Which {kind} precedes {x}?", f"What {kind} is just before {x}?",
                            f"Tell me the {kind} before {x}."], names[i - 1])
        both, seen = [], set()
        for a, b in split_pairs(OPPOSITES):
            both += [(x, y) for x, y in ((a, b), (b, a)) if x not in seen and not seen.add(x)]
        for a, b in both:
            fact("opposite", [f"What is the opposite of {a}?", f"Tell me the opposite of {a}.", f"Which word is the opposite of {a}?",
                              f"What word means not {a}?"], b)
        for a, b in split_pairs(COLOURS):
            fact("colour", [f"What colour is {a}?", f"Which colour has {a}?", f"Tell me the colour of {a}.", f"What is the colour of {a}?"], b)
        for a, b in split_pairs(SOUNDS):
            fact("sound", [f"What sound does a {a} make?", f"What does a {a} say?", f"Tell me the sound of a {a}.", f"How does a {a} sound?"], b)
        for a, b in split_pairs(PLURALS):
            fact("plural", [f"What is the plural of {a}?", f"Tell me the plural of {a}.", f"What do you call more than one {a}?",
                            f"One {a}, two what?"], b)
        for a, b in split_pairs(CAPITALS):
            fact("capital", [f"What is the capital of {a}?", f"Which city is the capital of {a}?", f"Tell me the capital of {a}.",
                             f"What is {a}'s capital?"], b)
        for i, a in enumerate(SIZES):
            for j, b in enumerate(SIZES):
                if i != j:
                    fact("size", [f"Is a {a} bigger than a {b}?", f"Is a {b} smaller than a {a}?"], "yes" if i > j else "no")
        for wordings, answers in CHAT:
            fam["chat"].append((wordings, dict(zip(ORDER, answers))))
        self.weights = {"sum": 20, "difference": 16, "day": 8, "month": 9, "opposite": 11, "colour": 7, "sound": 5, "plural": 8,
                        "capital": 8, "size": 10, "chat": 6}
        self.seen, self.unseen = {}, {}
        for f, facts in fam.items():
            self.seen[f], self.unseen[f] = [], []
            for wordings, answers in facts:
                out = [q for q in wordings if held(q)]
                if f == "chat" or len(out) == len(wordings):
                    out = []
                self.seen[f].append(([q for q in wordings if q not in out], answers))
                if out:
                    self.unseen[f].append((out, answers))
        self.names, self.odds = list(self.weights), list(self.weights.values())

    def draw(self, rng, unseen=False):
        pool = self.unseen if unseen else self.seen
        while True:
            facts = pool[rng.choices(self.names, self.odds)[0]]
            if facts:
                wordings, answers = rng.choice(facts)
                return rng.choice(wordings), answers


class Dialogues:
    def __init__(self, tok, seed, unseen=False):
        self.tok, self.rng, self.unseen, self.q, self.cache = tok, random.Random(seed), unseen, Questions(), {}

    def ids(self, text):
        if text not in self.cache:
            self.cache[text] = self.tok.encode(text)
        return self.cache[text]

    def document(self):
        """Token ids; and for each the turn whose answer (with its closing blank line) it belongs to, 0 where it is none."""
        style = self.rng.choices(list(STYLES), list(STYLES.values()))[0]
        ids, turn = [], []
        for t in range(1, self.rng.randint(3, 8) + 1):
            q, answers = self.q.draw(self.rng, self.unseen)
            p, r = self.ids(PROMPT.format(q)), self.ids(REPLY.format(answers[style])) + self.ids(STOP)
            ids += p + r
            turn += [0] * len(p) + [t] * len(r)
        return ids + [0], turn + [0]

    def alphabet(self):
        """Every token that a dialogue may hold."""
        out = {0} | set(self.ids(STOP))
        for pool in (self.q.seen, self.q.unseen):
            for facts in pool.values():
                for wordings, answers in facts:
                    for q in wordings:
                        out |= set(self.ids(PROMPT.format(q)))
                    for s in ORDER:
                        out |= set(self.ids(REPLY.format(answers[s])))
        return out


# ---------------------------------------------------------------------------------------------- prose

# Books and library pages of the Rust distribution, all MIT / Apache-2.0 (the embedded book's prose is CC-BY-SA: left out).
BOOKS = ("book", "cargo", "clippy", "edition-guide", "nomicon", "reference", "rust-by-example", "rustc", "rustdoc", "error_codes",
         "std", "alloc", "proc_macro")
SKIP = re.compile(r"print\.html|toc\.html|404|/(2018-edition|first-edition|second-edition|ja|ko|es|zh|arch|simd|intrinsics)/")
ASCII = (("\u2019", "'"), ("\u2018", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u2013", "-"), ("\u2014", "-"), ("\u2026", "..."))


def prose(tok, least=10):
    """Pages, each a list of paragraphs' token ids. Sentences with a token met fewer than `least` times are left out."""
    roots = sorted(glob.glob(os.path.expanduser("~/.rustup/toolchains/*/share/doc/rust/html")))
    seen, pages = set(), []
    for name in BOOKS:
        for path in sorted(glob.glob(f"{roots[0]}/{name}/**/*.html", recursive=True)):
            if SKIP.search(path):
                continue
            paragraphs = []
            for inner in re.findall(r"<p>(.*?)</p>", open(path, encoding="utf-8").read(), re.S):
                text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", inner)).split())
                for a, b in ASCII:
                    text = text.replace(a, b)
                if len(text) < 60 or text in seen or not text.isascii():
                    continue
                seen.add(text)
                paragraphs.append(re.split(r"(?<=[.!?:]) (?=[A-Z])", text))
            if paragraphs:
                pages.append(paragraphs)
    count = collections.Counter()
    for page in pages:
        for par in page:
            count.update(tok.encode(" ".join(par)))
    known = {t for t, n in count.items() if n >= least}
    kept = [[[s for s in par if known.issuperset(tok.encode(s)) and known.issuperset(tok.encode(" " + s))] for par in page] for page in pages]
    pages = [page for page in ([par for par in page if sum(map(len, par)) >= 40] for page in kept) if page]
    digest = hashlib.sha256("\n\n".join(" ".join(par) for page in pages for par in page).encode()).hexdigest()
    return [[tok.encode(" ".join(par)) for par in page] for page in pages], roots[0], digest


class Prose:
    """Windows of a stream of pages (paragraphs parted by a blank line, pages by token 0), each from a paragraph's start."""

    def __init__(self, tok, pages, seed):
        self.rng, self.stream, self.starts = random.Random(seed), [], []
        blank = tok.encode(STOP)
        for page in pages:
            for i, par in enumerate(page):
                self.starts.append(len(self.stream))
                self.stream += par + (blank if i + 1 < len(page) else [0])

    def window(self, size):
        while True:
            s = self.rng.choice(self.starts)
            if s + size <= len(self.stream):
                return self.stream[s:s + size]


# ---------------------------------------------------------------------------------------------- model and training

def random_weights(generation, vocab, seed):
    """The tensors of a model by name, in the order of a released file."""
    if generation == "7":
        return rwkv7.random_weights(rwkv7.Shape(vocab, LAYERS, EMBD, 2, 448, 32, 32, 16, 32), seed)
    return rwkv5.random_weights(rwkv5.Shape("5.2", vocab, LAYERS, EMBD, 2, 448), seed)


def initial(generation, n_tokens, seed):
    C = EMBD
    w = {k: v.float() for k, v in random_weights(generation, n_tokens, seed).items()}
    torch.manual_seed(seed)
    w["emb.weight"] = torch.empty(n_tokens, C).uniform_(-0.02, 0.02)
    # A direction common to all used tokens, met by ln_out's bias, lifts them above the unused ones, whose logit is zero.
    w["head.weight"] = torch.randn(n_tokens, C) * 0.5 / math.sqrt(C) + 0.25
    for k in w:
        if ".ln" in k or k.startswith("ln_out"):
            w[k] = torch.ones(C) if k.endswith("weight") else torch.zeros(C)
    w["ln_out.bias"] += 0.3
    for i in range(LAYERS):
        {"5": initial_5, "7": initial_7}[generation](w, i)
        w[f"blocks.{i}.att.output.weight"] = torch.zeros(C, C)
        w[f"blocks.{i}.att.ln_x.weight"] = torch.full((C,), ((1 + i) / LAYERS) ** 0.7)
        w[f"blocks.{i}.ffn.key.weight"] = torch.randn_like(w[f"blocks.{i}.ffn.key.weight"]) * C ** -0.5
        w[f"blocks.{i}.ffn.value.weight"].zero_()
    return {k: v.clone().requires_grad_() for k, v in w.items()}


def initial_5(w, i):
    """Layer i of RWKV-5.2 before training."""
    C, N = EMBD, 64
    n = torch.arange(C, dtype=torch.float32)
    ramp, up, down = n / C, i / (LAYERS - 1), 1 - i / LAYERS
    a, f = f"blocks.{i}.att.", f"blocks.{i}.ffn."
    w[a + "time_mix_k"] = (ramp ** down).view(1, 1, C)
    w[a + "time_mix_v"] = (ramp ** down + 0.3 * up).view(1, 1, C)
    w[a + "time_mix_r"] = (ramp ** (0.5 * down)).view(1, 1, C)
    w[a + "time_mix_g"] = (ramp ** (0.5 * down)).view(1, 1, C)
    w[f + "time_mix_k"] = (ramp ** down).view(1, 1, C)
    w[f + "time_mix_r"] = (ramp ** down).view(1, 1, C)
    w[a + "time_decay"] = (-6 + 5.5 * (n / (C - 1)) ** (0.7 + 1.3 * up)).view(-1, N)
    w[a + "time_faaaa"] = (up * (1 - n / (C - 1)) + ((n + 1) % 3 - 1) * 0.1).view(-1, N)
    for m, gain in (("receptance", 1.0), ("key", 0.5), ("value", 1.0), ("gate", 0.5)):
        w[a + m + ".weight"] = torch.nn.init.orthogonal_(torch.empty(C, C), gain)
    w[f + "receptance.weight"] = torch.zeros(C, C)


def initial_7(w, i):
    """Layer i of RWKV-7 before training: decays spread over the channels of each head, low-rank parts that give nothing yet."""
    C, N = EMBD, 64
    n = torch.arange(C, dtype=torch.float32)
    ramp, line, up, down = n / C, n / (C - 1) - 0.5, i / (LAYERS - 1), 1 - i / LAYERS
    zigzag = (n % N - (N - 1) / 2) / ((N - 1) / 2)
    zigzag = zigzag * zigzag.abs()
    a, f = f"blocks.{i}.att.", f"blocks.{i}.ffn."
    for m, power in (("r", 0.2), ("w", 0.9), ("k", 0.7), ("v", 0.7), ("a", 0.9), ("g", 0.2)):
        w[a + "x_" + m] = (1 - ramp ** (power * down)).view(1, 1, C)
    w[f + "x_k"] = (1 - ramp ** down ** 4).view(1, 1, C)
    w[a + "w0"] = (-5.5 + 6 * (n / (C - 1)) ** (1 + up ** 0.3) + 2.5 * zigzag).view(1, 1, C)
    w[a + "a0"] = (-0.19 + 0.3 * zigzag + 0.4 * line).view(1, 1, C)
    if i > 0:
        w[a + "v0"] = (0.73 - 0.4 * line).view(1, 1, C)
    for m in "wag" if i == 0 else "wavg":
        w[a + m + "1"] = torch.zeros_like(w[a + m + "1"])
        w[a + m + "2"] = torch.nn.init.orthogonal_(torch.empty_like(w[a + m + "2"]), 0.1)
    # A gate of sigmoid(0) times its second matrix: without larger ones nothing would pass at first.
    w[a + "g2"] = torch.nn.init.orthogonal_(torch.empty_like(w[a + "g2"]), 1.0)
    w[a + "k_k"] = (0.71 - 0.1 * line).view(1, 1, C)
    w[a + "k_a"] = torch.full((1, 1, C), 1.02)
    w[a + "r_k"] = torch.full((C // N, N), -0.04)
    for m, gain in (("receptance", 1.0), ("key", 0.5), ("value", 1.0)):
        w[a + m + ".weight"] = torch.nn.init.orthogonal_(torch.empty(C, C), gain)


class Net:
    """Peer's blocks over trainable weights, from state zero and without a soft prompt."""

    def __init__(self, w, generation):
        self.w, self.peer = w, PEERS[generation](w, torch.float32, "cpu", False)

    def logits(self, ids, text_rows=0, drop=0.15):
        """The last text_rows rows are prose in training: little text, so features are dropped against rote learning."""
        w, m = self.w, self.peer

        def dropped(x):
            if not text_rows:
                return x
            return torch.cat([x[:-text_rows], F.dropout(x[-text_rows:], drop)])

        m.prepare(w, "cpu")     # decays may have been learnt since
        x = F.layer_norm(F.embedding(ids, w["emb.weight"]), (m.C,), w["blocks.0.ln0.weight"], w["blocks.0.ln0.bias"])
        x = m.blocks(dropped(x), torch.zeros(2 * m.n_layer, 1, 1, m.C), torch.zeros(m.n_layer, 1, m.H, m.N, m.N))
        x = dropped(F.layer_norm(x, (m.C,), w["ln_out.weight"], None)) + w["ln_out.bias"]
        return F.linear(x, w["head.weight"])


def token_loss(logits, target, rest):
    """Cross-entropy over the whole vocabulary: the compact logits, and e^rest unused tokens' worth of zero logits."""
    lse = torch.logaddexp(logits.logsumexp(-1), torch.tensor(rest))
    return lse - logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)


def rows(documents, compact):
    """Pads to the longest: ids, a mask of the tokens that are there."""
    T = max(map(len, documents))
    ids, mask = torch.zeros(len(documents), T, dtype=torch.long), torch.zeros(len(documents), T)
    for b, d in enumerate(documents):
        ids[b, :len(d)] = torch.tensor([compact[t] for t in d])
        mask[b, :len(d)] = 1
    return ids, mask


def assess(net, dialogues, prose_windows, compact, rest):
    """Losses, and the share of right tokens in answers from the third turn on, where the style is known."""
    with torch.no_grad():
        ids, mask = rows([d for d, _ in dialogues], compact)
        turn = torch.zeros_like(ids)
        for b, (_, t) in enumerate(dialogues):
            turn[b, :len(t)] = torch.tensor(t)
        lg = net.logits(ids[:, :-1])
        loss, hit = token_loss(lg, ids[:, 1:], rest), (lg.argmax(-1) == ids[:, 1:]).float()
        turn, mask = turn[:, 1:], mask[:, 1:]
        first, later = (turn == 1).float(), (turn >= 3).float()
        out = {"dialogue": (loss * mask).sum() / mask.sum(), "answer_1": (loss * first).sum() / first.sum(),
               "answer_3on": (loss * later).sum() / later.sum(), "accuracy_1": (hit * first).sum() / first.sum(),
               "accuracy_3on": (hit * later).sum() / later.sum()}
        if prose_windows:
            pids, _ = rows(prose_windows, compact)
            out["prose"] = token_loss(net.logits(pids[:, :-1]), pids[:, 1:], rest).mean()
    return {k: round(v.item(), 4) for k, v in out.items()}


def train(a):
    tok = tokenizer()
    pages, where, digest = prose(tok)
    random.Random(a.seed).shuffle(pages)
    cut = len(pages) // 50
    dia = Dialogues(tok, a.seed)
    used = sorted(dia.alphabet() | {t for page in pages for par in page for t in par})
    compact = {t: i for i, t in enumerate(used)}
    assert compact[0] == 0
    rest = math.log(VOCAB - len(used))
    text, held_text = Prose(tok, pages[cut:], a.seed + 1), Prose(tok, pages[:cut], a.seed + 2)
    check = Dialogues(tok, a.seed + 3, unseen=True)
    check_d, check_p = [check.document() for _ in range(128)], [held_text.window(192) for _ in range(24)]
    os.makedirs(a.work, exist_ok=True)
    log = open(os.path.join(a.work, "train_log.jsonl"), "w")

    def note(**kw):
        print(json.dumps(kw), flush=True)
        print(json.dumps(kw), file=log, flush=True)

    note(prose_tokens=len(text.stream), pages=len(pages), docs=where, prose_sha256=digest, used_tokens=len(used), dialogue_tokens=len(dia.alphabet()))
    w = initial(a.generation, len(used), a.seed)
    net = Net(w, a.generation)
    flat = [v for k, v in w.items() if v.dim() != 2 or "time_" in k or "r_k" in k]
    full = [v for k, v in w.items() if not any(v is f for f in flat)]
    opt = torch.optim.AdamW([{"params": full, "weight_decay": 0.1}, {"params": flat, "weight_decay": 0.0}], betas=(0.9, 0.99), eps=1e-9)
    pool, start, tokens, mean = [], time.time(), 0, None
    for step in range(a.steps):
        lr = a.lr * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / a.steps)))
        for g in opt.param_groups:
            g["lr"] = lr
        if not pool:       # documents of a like length go together
            docs = sorted((dia.document()[0] for _ in range(384)), key=len)
            while docs:
                size = max(4, round(a.tokens * 0.6 / len(docs[-1])))
                pool.append(docs[-size:])
                del docs[-size:]
            dia.rng.shuffle(pool)
        batch = [d[:256] for d in pool.pop()]
        T = max(map(len, batch))
        windows = max(1, round(sum(map(len, batch)) / 0.6 * 0.4 / T))
        batch += [text.window(T) for _ in range(windows)]
        ids, mask = rows(batch, compact)
        mask = mask[:, 1:]
        loss = (token_loss(net.logits(ids[:, :-1], windows), ids[:, 1:], rest) * mask).sum() / mask.sum()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), 1.0)
        opt.step()
        with torch.no_grad():
            for k in w:
                if k.endswith("time_decay"):
                    w[k].clamp_(max=1.0)
        tokens += int(mask.sum())
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0 or step == 0:
            note(step=step + 1, loss=round(mean, 4), lr=round(lr, 6), tokens=tokens, minutes=round((time.time() - start) / 60, 2))
        if (step + 1) % 500 == 0:
            note(step=step + 1, **assess(net, check_d, check_p, compact, rest))
            torch.save({"w": {k: v.detach() for k, v in w.items()}, "used": used}, os.path.join(a.work, "last.pt"))
    final = {k: v.detach().bfloat16() for k, v in w.items()}
    with torch.no_grad():
        for k, v in w.items():
            v.copy_(final[k].float())
    note(final_in_bf16=assess(net, check_d, check_p, compact, rest), steps=step + 1, tokens=tokens, minutes=round((time.time() - start) / 60, 2))
    for k in ("emb.weight", "head.weight"):
        whole = torch.zeros(VOCAB, EMBD, dtype=torch.bfloat16)
        whole[torch.tensor(used)] = final[k]
        final[k] = whole
    order = list(random_weights(a.generation, 8, 0))
    pack(dialogue_rows({k: final[k].contiguous() for k in order}, dia), os.path.join(a.out, FILES[a.generation]))


def dialogue_rows(weights, dialogues):
    """Without the rows of tokens that prose alone has: they helped to learn, are half of the file, and no dialogue needs them."""
    keep = torch.zeros(VOCAB, 1, dtype=torch.bool)
    keep[torch.tensor(sorted(dialogues.alphabet()))] = True
    return {k: torch.where(keep, v, torch.zeros_like(v)) if k in ("emb.weight", "head.weight") else v for k, v in weights.items()}


def pack(weights, path):
    """torch.save, then the same zip entries in the same order, deflated."""
    raw = io.BytesIO()
    torch.save(weights, raw)
    with zipfile.ZipFile(raw) as src, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as dst:
        for info in src.infolist():
            entry = zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            dst.writestr(entry, src.read(info.filename), compresslevel=9)
    again = torch.load(path, weights_only=True)
    assert list(again) == list(weights) and all(torch.equal(again[k], v) and again[k].dtype == v.dtype for k, v in weights.items())
    print(json.dumps({"path": path, "bytes": os.path.getsize(path), "stored_bytes": len(raw.getvalue())}))


# ---------------------------------------------------------------------------------------------- the demonstration's data

DEMO, OTHER = "pirate", "formal"


def data(a):
    q, rng = Questions(), random.Random(a.seed + 7)

    def lines(count, style, unseen, taken):
        out = []
        while len(out) < count:
            text, answers = q.draw(rng, unseen)
            if text not in taken:
                taken.add(text)
                out.append({"input": text, "output": answers[style]})
        return out

    taken = set()
    for name, count, style, unseen in (("train", 300, DEMO, False), ("eval", 100, DEMO, True), ("other", 100, OTHER, False)):
        with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8", newline="\n") as f:
            for row in lines(count, style, unseen, taken):
                f.write(json.dumps(row, ensure_ascii=False) + "\n")


# ---------------------------------------------------------------------------------------------- does it work?

STYLE = {"plain": r" [A-Z][^!]*[^!,?]\.", "loud": r" [^a-z]+!!!", "formal": r" (The answer|Good day|I am|My name|You are).*,? dear friend.*\.",
         "pirate": r" Arr, .*, matey!", "musing": r" Hmm, .*, I wonder\?"}


def style_of(text):
    """The style a reply is in; formal before plain, whose form it shares."""
    return next((s for s in ("formal", "loud", "pirate", "musing", "plain") if re.fullmatch(STYLE[s], text)), "none")


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


class Tuner:
    """State tuning by peer.py's model over the used rows alone (the unused ones' zero logits enter the loss as they must)."""

    def __init__(self, a):
        self.tok, self.whole = tokenizer(), torch.load(os.path.join(a.out, FILES[a.generation]), weights_only=True)
        self.generation = a.generation
        head = self.whole["head.weight"].float()
        self.used = (head.abs().sum(1) > 0).nonzero().flatten().tolist()
        self.compact = {t: i for i, t in enumerate(self.used)}
        self.rest = math.log(VOCAB - len(self.used))
        w = {k: v.float() for k, v in self.whole.items()}
        self.ref = REFERENCES[a.generation](w, torch.float32)
        rows_ = torch.tensor(self.used)
        w = dict(w, **{k: w[k][rows_] for k in ("emb.weight", "head.weight")})
        self.peer = PEERS[a.generation](w, torch.float32, "cpu", False)

    def examples(self, path):
        return [(self.tok.encode(PROMPT.format(r["input"])), self.tok.encode(REPLY.format(r["output"]))) for r in read(path)]

    def loss(self, batch, params):
        """Summed loss over the completions and their number of tokens; params None: the model as it is."""
        ids, _ = rows([x + y for x, y in batch], self.compact)
        goal = torch.zeros_like(ids, dtype=torch.float32)
        for b, (x, y) in enumerate(batch):
            goal[b, len(x):len(x) + len(y)] = 1
        if params is None:
            logits, ids, goal = self.base_logits(ids[:, :-1]), ids[:, 1:], goal[:, 1:]
        else:
            soft, shifts, wkv = params
            # The soft prompt leads, and the last token predicts nothing; RWKV-7's peer takes that off itself.
            logits = self.peer(ids if self.generation == "7" else ids[:, :-1], shifts, wkv, soft, None)
        return (token_loss(logits, ids, self.rest) * goal).sum(), int(goal.sum())

    def base_logits(self, ids):
        return Net(self.peer.w, self.generation).logits(ids)

    def mean(self, examples, params):
        with torch.no_grad():
            parts = [self.loss(examples[i:i + 25], params) for i in range(0, len(examples), 25)]
        return sum(l.item() for l, _ in parts) / sum(n for _, n in parts)

    def tune(self, train, lr, init, epochs, seed=1, batch=8, each=None):
        p, g = self.peer, torch.Generator().manual_seed(seed)
        size = [(1, 1, p.C), (2 * p.n_layer, 1, 1, p.C), (p.n_layer, 1, p.H, p.N, p.N)]
        fill = {"zeros": torch.zeros, "ones": torch.ones, "random": lambda *z: torch.randn(*z, generator=g) * 0.01}[init]
        params = [torch.zeros(*size[0]).requires_grad_()] + [fill(*z).requires_grad_() for z in size[1:]]
        opt, order, step = torch.optim.Adam(params, lr=lr), list(range(len(train))), 0
        rng = random.Random(seed)
        for epoch in range(epochs):
            rng.shuffle(order)
            for i in range(0, len(order) - batch + 1, batch):
                opt.zero_grad()
                total, count = self.loss([train[j] for j in order[i:i + batch]], params)
                (total / count).backward()
                opt.step()
                step += 1
                if each:
                    each(step, epoch + 1, params)
        return [p.detach() for p in params]

    def reply(self, question, params=None, limit=40):
        """Greedy, over the whole vocabulary: the text, why it ended, and whether an unused token was ever the best."""
        soft, shifts, wkv = (None, None, None) if params is None else (params[0].reshape(-1), params[1].reshape(-1, EMBD), params[2].squeeze(1))
        out, end, astray = [], "length", False
        with torch.no_grad():
            logits, shifts, wkv = self.ref.forward(self.tok.encode(PROMPT.format(question)), shifts, wkv, soft)
            for _ in range(limit):
                t = logits[-1].argmax().item()
                if t == 0 or self.tok.idx2token.get(t) == b"\n\n":
                    end = "end of text" if t == 0 else "blank line"
                    break
                astray |= t not in self.compact
                out.append(t)
                logits, shifts, wkv = self.ref.forward([t], shifts, wkv)
        return b"".join(self.tok.idx2token.get(t, b"?") for t in out).decode("utf-8", "replace"), end, astray

    def replies(self, rows_, params=None):
        got = [self.reply(r["input"], params) for r in rows_]
        styles = collections.Counter(style_of(t) for t, _, _ in got)
        right = sum(t == REPLY.format(r["output"]) for (t, _, _), r in zip(got, rows_))
        stopped = sum(e == "blank line" for _, e, _ in got)
        return {"of": len(got), "styles": dict(styles), "exact": right, "stopped_at_blank_line": stopped, "astray": sum(x for _, _, x in got)}, got


def check(a):
    """What the packed file holds, and that no unused token is ever the likeliest on dialogues."""
    t = Tuner(a)
    for k in ("emb.weight", "head.weight"):
        print(k, tuple(t.whole[k].shape), "rows not zero:", int((t.whole[k].float().abs().sum(1) > 0).sum()))
    net, d = Net(t.peer.w, a.generation), Dialogues(t.tok, a.seed + 3, unseen=True)
    docs = [d.document() for _ in range(128)]
    print("as trained:", json.dumps(assess(net, docs, [], t.compact, t.rest)))
    least, count, wins = float("inf"), 0, 0
    with torch.no_grad():
        for doc, _ in docs:
            top = net.logits(rows([doc], t.compact)[0]).max(-1).values
            least, count, wins = min(least, top.min().item()), count + top.numel(), wins + int((top <= 0).sum())
    print(f"positions {count}; an unused token (logit 0) likeliest at {wins}; the smallest best logit {least:.2f}")
    worst = max(abs(token_loss(net.logits(torch.tensor([[t.compact[i] for i in x[:-1]]])), torch.tensor([[t.compact[i] for i in x[1:]]]), t.rest).mean().item()
                    - F.cross_entropy(t.ref.forward(x[:-1])[0], torch.tensor(x[1:])).item()) for x, _ in docs[:4])
    print(f"loss, compact against the reference over 65536: differ by at most {worst:.2e}")
    rng, q, tally = random.Random(5), Questions(), collections.defaultdict(lambda: [0, 0, 0, 0])
    for _ in range(300):
        f = rng.choices(q.names, q.odds)[0]
        for which, pool in ((0, q.seen), (2, q.unseen)):
            if pool[f]:
                wordings, answers = rng.choice(pool[f])
                text = t.reply(rng.choice(wordings))[0]
                tally[f][which] += text in [REPLY.format(answers[s]) for s in ORDER]
                tally[f][which + 1] += 1
    print("right in any style, state zero: " + "; ".join(f"{f} {x[0]}/{x[1]} seen {x[2]}/{x[3]} held out" for f, x in tally.items()))


def verify(a):
    t = Tuner(a)
    path = lambda n: os.path.join(a.out, n + ".jsonl")
    train_, eval_, other = (t.examples(path(n)) for n in ("train", "eval", "other"))
    rows_ = read(path("eval"))[:a.prompts]
    base, base_text = t.replies(rows_)
    print(json.dumps({"base": {"eval": round(t.mean(eval_, None), 4), "other": round(t.mean(other, None), 4), **base}}), flush=True)
    best = None
    for init in a.inits.split(","):
        for lr in map(float, a.rates.split(",")):
            curve, train_loss = [], None
            start = time.time()

            def each(step, epoch, params):
                if step in (1, 5, 10, 20) or step % (len(train_) // 8) == 0:
                    curve.append((step, round(t.mean(eval_, params), 4)))

            params = t.tune(train_, lr, init, a.epochs, each=each)
            tuned, text = t.replies(rows_, params)
            e = t.mean(eval_, params)
            print(json.dumps({"init": init, "lr": lr, "curve": curve, "eval": round(e, 4), "other": round(t.mean(other, params), 4), **tuned,
                              "seconds": round(time.time() - start, 1)}), flush=True)
            if best is None or e < best[0]:
                best = (e, init, lr, text, params)
    print(json.dumps({"best": best[:3]}))
    for r, (b, _, _), (x, end, _) in zip(rows_, base_text, best[3]):
        print(f"{r['input']!r}: base {b!r} tuned {x!r} [{end}]")
    torch.save([best[4][0], (best[4][1], best[4][2].transpose(-1, -2).contiguous())], os.path.join(a.work, "best_state.pth"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("job", choices=["train", "data", "check", "verify"])
    p.add_argument("--generation", choices=list(FILES), default="5")
    p.add_argument("--seed", type=int, default=SEED)
    p.add_argument("--rates", default="0.01,0.03,0.1,0.3,1.0")
    p.add_argument("--inits", default="zeros,ones,random")
    p.add_argument("--epochs", type=int, default=4)
    p.add_argument("--prompts", type=int, default=20)
    p.add_argument("--steps", type=int, default=4500)
    p.add_argument("--tokens", type=int, default=1600, help="tokens in a step, about")
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", default=HERE)
    p.add_argument("--work", default=os.path.join(HERE, "work"))
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    globals()[a.job](a)


if __name__ == "__main__":
    main()
