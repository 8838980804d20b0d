"""What an H100 would take for a ResNet-18, derived from operations and bytes; nothing of it is measured.

For batch 256 and precision ``published``: TF32 convolutions, everything else in float32 and bound by memory. The
published loop is the same arithmetic with a pass of its own for the value gradient and copies by parameter; the floor
is what the same operations take where each tensor is read and written once. `dualgrad bench gpu` measures it.
"""

from __future__ import annotations

NETWORK = "resnet18"
#: Milliseconds of a step, by what they go to.
STEP = {"convolutions": 4.8, "memory traffic": 4.4, "inner products": 0.3}
#: Steps of an epoch: full batches of CIFAR-10's training set.
STEPS = 50_000 // 256
#: Seconds of an epoch's steps, by whose they are.
EPOCH = {"ours": round(STEPS * sum(STEP.values()) / 1000, 2), "published": 2.3, "floor": 0.76}
