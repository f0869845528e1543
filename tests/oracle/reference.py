"""The reference for a checkpoint, whichever version it is: RWKV-5 has time_decay, RWKV-7 ("x070") r_k."""
import torch

from rwkv5 import Rwkv5
from rwkv7 import Rwkv7


def of_weights(weights, dtype=torch.float64):
    return (Rwkv7 if "blocks.0.att.r_k" in weights else Rwkv5)(weights, dtype)


def load_model(path, dtype=torch.float64):
    return of_weights(torch.load(path, weights_only=True), dtype)
