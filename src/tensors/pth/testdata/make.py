"""Makes torch.pth beside this file: everything that torch.save writes of tensors, in under 3 KB.

Run with PyTorch 2.5.1; the numbers are named again in ../tests.rs.
"""

import os
from collections import OrderedDict

import torch

base = torch.arange(6, dtype=torch.float32).reshape(2, 3)
layer = torch.nn.Linear(2, 1)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([[0.5, -2.0]]))
    layer.bias.fill_(3.0)

torch.save(
    {
        "module": layer.state_dict(),  # an OrderedDict with _metadata
        "ordered": OrderedDict(a=1),
        "base": base,
        "tied": base,
        "transposed": base.T,
        "row": base[1],
        "column": base[:, 2],
        "expanded": base[:1].expand(2, 3),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.bfloat16)),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(1, 0, 4, dtype=torch.float16),
        "rest": [None, True, -1, 300, 70000, 2**40, 0.25, "é", (), (1,), (1, 2, 3, 4)],
    },
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch.pth"),
)
