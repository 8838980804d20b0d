"""A run on synthetic pictures of CIFAR's shape: experiment A's protocol with any of the image networks."""

from __future__ import annotations

from dualgrad.census.run import Run, read

# What people type -> the network, and what it is called.
MODELS = {
    "resnet18": ("resnet18_own", "ResNet-18"),
    "resnet34": ("resnet34_own", "ResNet-34"),
    "vgg11": ("vgg11_p", "VGG11"),
    "simplecnn": ("simplecnn_p", "SimpleCNN"),
}


def synthetic_run(
    model: str, batch: int, images: int, test_images: int, precision: str, lam: float = 0.35
) -> Run:
    """Return a run that needs neither census nor data: one stage, with what the models of a run have as defaults."""
    task = {
        "kind": "image",
        "dataset": "cifar10",
        "classes": 10,
        "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "augment": {"crop_padding": 4, "flip": True},
        "model": {"name": MODELS[model][0]},
        "batch_size": batch,
        "drop_last": True,
        "synthetic": {"train": images, "test": test_images},
    }
    stage = {
        "schedule": {"kind": "multistep", "milestones": [50, 75]},
        "segments": [{"lambda": lam, "epochs": 100}],
        "evaluate": {"every": 10},
    }
    return read(
        {
            "experiment": "A",
            "run": f"synthetic-{model}",
            "edition": "bench",
            "precision": precision,
            "streams": {"group": "bench"},
            "task": task,
            "noise": {"kind": "symmetric", "rate": 0.4, "seed_offset": 1000},
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            "stages": [stage],
        }
    )
