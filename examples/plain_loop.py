"""Two gradients of one batch: one of its noisy labels, one of its true labels (the oracle), mixed with weight λ.

Run: python examples/plain_loop.py (needs torch and dualgrad, nothing else)
"""

import torch
import torch.nn.functional as F
from torch import nn

from dualgrad import DualGradient

torch.manual_seed(0)
images = torch.randn(2000, 20)
truth = (images @ torch.randn(20, 4)).argmax(1)
noisy = torch.where(torch.rand(2000) < 0.4, torch.randint(0, 4, (2000,)), truth)  # 40 % drawn anew

model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
dual = DualGradient(model, optimizer, lam=0.35, period=16)

for epoch in range(10):
    for index in torch.randperm(1500).split(128):
        logits = model(images[index])
        log = dual.step(F.cross_entropy(logits, noisy[index]), F.cross_entropy(logits, truth[index]))
    model.eval()
    with torch.no_grad():
        error = (model(images[1500:]).argmax(1) != truth[1500:]).float().mean()
    model.train()
    print(f"epoch {epoch + 1}: test error {error:.3f}, cosine {float(log['cos']):+.2f}")
