"""A small trusted subset with batches of its own; its forward pass is made only on steps that need it.

Run: python examples/trusted_batch.py (needs torch and dualgrad, nothing else)
"""

import torch
import torch.nn.functional as F
from torch import nn

from dualgrad import DualGradient

torch.manual_seed(0)
inputs = torch.randn(2000, 20)
truth = (inputs @ torch.randn(20, 4)).argmax(1)
noisy = torch.where(torch.rand(2000) < 0.6, torch.randint(0, 4, (2000,)), truth)
trusted = torch.randperm(1500)[:150]  # the examples whose true labels are known

model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
dual = DualGradient(model, optimizer, lam=0.3, period=4)


def value_loss() -> torch.Tensor:
    """The loss on a batch of trusted examples, with a forward pass of its own."""
    index = trusted[torch.randint(0, len(trusted), (64,))]
    return F.cross_entropy(model(inputs[index]), truth[index])


for epoch in range(10):
    for index in torch.randperm(1500).split(128):
        dual.step(F.cross_entropy(model(inputs[index]), noisy[index]), value_loss)
    with torch.no_grad():
        error = (model(inputs[1500:]).argmax(1) != truth[1500:]).float().mean()
    print(f"epoch {epoch + 1}: test error {error:.3f}")
