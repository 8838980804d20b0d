"""The same mix as the weights of one of TorchJD's aggregators.

Run: python examples/with_torchjd.py (in a clone: pip install ".[torchjd]")
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autojac import backward, jac_to_grad

from dualgrad.torchjd import NormalizedMix

torch.manual_seed(0)
inputs = torch.randn(1024, 20)
truth = (inputs @ torch.randn(20, 4)).argmax(1)
noisy = torch.where(torch.rand(1024) < 0.4, torch.randint(0, 4, (1024,)), truth)

model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
aggregator = GramianWeightedAggregator(NormalizedMix(0.35))
for _ in range(60):
    index = torch.randint(0, 1024, (128,))
    logits = model(inputs[index])
    backward([F.cross_entropy(logits, noisy[index]), F.cross_entropy(logits, truth[index])])
    jac_to_grad(model.parameters(), aggregator)
    optimizer.step()
    optimizer.zero_grad()
with torch.no_grad():
    print(f"training error against the true labels {(model(inputs).argmax(1) != truth).float().mean():.3f}")
