"""The same loop under Hugging Face's Accelerate, on as many devices as `accelerate launch` is told.

Run: python examples/with_accelerate.py, or: accelerate launch examples/with_accelerate.py (pip install accelerate)
"""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dualgrad import DualGradient

set_seed(0)
inputs = torch.randn(1024, 20)
truth = (inputs @ torch.randn(20, 4)).argmax(1)
noisy = torch.where(torch.rand(1024) < 0.4, torch.randint(0, 4, (1024,)), truth)

accelerator = Accelerator()
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loader = DataLoader(TensorDataset(inputs, noisy, truth), batch_size=128, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
# In place of accelerator.backward and optimizer.step; the optimizer itself, as the scaler is given beside it.
dual = DualGradient(model, optimizer.optimizer, lam=0.35, period=4, scaler=accelerator.scaler)
for epoch in range(5):
    for batch, wrong, right in loader:
        with accelerator.autocast():
            logits = model(batch)
            losses = F.cross_entropy(logits, wrong), F.cross_entropy(logits, right)
        log = dual.step(*losses)
    accelerator.print(
        f"epoch {epoch + 1}: cosine {float(log['cos']):+.2f}, loss {float(losses[1].detach()):.3f}"
    )
