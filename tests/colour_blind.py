"""Pictures and colours as people without red or green cones see them.

    python tests/colour_blind.py figures/main/*.png --output DIR

The matrices are those of Machado, Oliveira and Fernandes (2009) for full dichromacy, on linear RGB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SIGHT = {
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def _linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _gamma(rgb: np.ndarray) -> np.ndarray:
    rgb = np.clip(rgb, 0.0, 1.0)
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


def seen(rgb: np.ndarray, sight: str) -> np.ndarray:
    """Return sRGB colours (…, 3) in [0, 1] as they are seen."""
    return _gamma(_linear(rgb) @ SIGHT[sight].T)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return sRGB colours (…, 3) in CIE Lab (D65)."""
    ratio = (_linear(rgb) @ _XYZ.T) / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])],
        axis=-1,
    )


def main() -> None:
    """Write each picture as it is seen, in both ways."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for path in args.pictures:
        pixels = np.asarray(Image.open(path).convert("RGB")) / 255.0
        for sight in SIGHT:
            shown = (255 * seen(pixels, sight)).round().astype(np.uint8)
            Image.fromarray(shown).save(args.output / f"{path.stem}_{sight}.png")


if __name__ == "__main__":
    main()
