"""A run on made-up pictures of CIFAR's shape: experiment A's protocol with any of the image networks."""

from __future__ import annotations

# What people type -> the network, and what it is called.
MODELS = {
    "resnet18": ("resnet18_own", "ResNet-18"),
    "resnet34": ("resnet34_own", "ResNet-34"),
    "vgg11": ("vgg11_p", "VGG11"),
    "simplecnn": ("simplecnn_p", "SimpleCNN"),
}


def made_up_run(
    model: str, batch: int, images: int, test_images: int, precision: str, lam: float = 0.35
) -> dict:
    """Return a resolved run (as ``dualgrad show`` prints one) that needs neither census nor data."""
    return {
        "experiment": "A",
        "run": f"made-up-{model}",
        "edition": "bench",
        "precision": precision,
        "seed": 0,
        "streams": {"group": "bench", "replicate": 0},
        "copy_of": None,
        "prefix_epochs": None,
        "task": {
            "kind": "image",
            "dataset": "cifar10",
            "classes": 10,
            "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
            "augment": {"crop_padding": 4, "flip": True},
            "model": {"name": MODELS[model][0]},
            "batch_size": batch,
            "drop_last": True,
            "steps_per_epoch": None,
            "eval_batch_size": 1000,
            "max_length": None,
            "subset": None,
            "synthetic": {"train": images, "test": test_images},
        },
        "noise": {"kind": "symmetric", "rate": 0.4, "seed_offset": 1000},
        "value": {
            "labels": "clean",
            "sign": 1,
            "period": 16,
            "random": None,
            "trusted": None,
            "synthetic": None,
            "fresh_every_step": False,
        },
        "method": "dual",
        "renormalize": False,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "lr_scale": None,
        "head_cosine_every": None,
        "stages": [
            {
                "name": "main",
                "branch": None,
                "start": {"kind": "fresh"},
                "seed_offset": 0,
                "session": "main",
                "lr": None,
                "schedule": {"kind": "multistep", "milestones": [50, 75], "gamma": 0.1},
                "segments": [{"lambda": lam, "epochs": 100, "direction": None}],
                "evaluate": {"every": 10},
                "gate": None,
                "stop": None,
                "save": False,
            }
        ],
        "log": {"epochs": False, "steps_every": None, "first_steps": None},
    }
