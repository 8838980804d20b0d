"""λ as a function of the steps done: up a cosine ramp from 0.1 to 0.4.

Run: python examples/lam_schedule.py (needs torch and dualgrad, nothing else)
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dualgrad import DualGradient

torch.manual_seed(0)
inputs = torch.randn(1024, 20)
truth = (inputs @ torch.randn(20, 4)).argmax(1)
noisy = torch.where(torch.rand(1024) < 0.4, torch.randint(0, 4, (1024,)), truth)
steps = 80


def lam(step: int) -> float:
    """The weight of the value gradient at a step."""
    return 0.1 + 0.3 * (1 - math.cos(math.pi * step / steps)) / 2


model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
dual = DualGradient(model, torch.optim.SGD(model.parameters(), lr=0.1), lam, period=16)
for step in range(steps):
    index = torch.randint(0, 1024, (128,))
    logits = model(inputs[index])
    log = dual.step(F.cross_entropy(logits, noisy[index]), F.cross_entropy(logits, truth[index]))
    if step % 20 == 19:
        print(f"step {step + 1}: λ {log['lam']:.3f}, norm of the mix {float(log['norm_mix']):.3f}")
