"""Settings of an execution: ``config/config.yaml``, with what was said on the command line laid on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualgrad.validation import InputError, check_schema, did_you_mean, read_yaml

FILE = "config/config.yaml"


class ConfigError(InputError):
    """A setting is unknown or cannot have this value; the message names file, key and what was expected."""


def load_config(root: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read the settings of the workflow in *root*.

    Args:
        root: folder that holds ``config``.
        overrides: settings that win over the file's, e.g. Snakemake's ``config``.

    Raises:
        ConfigError: an unknown key, a value that does not fit, an edition that does not exist.
    """
    root, overrides = Path(root), dict(overrides or {})
    config = read_yaml(root / FILE, FILE, ConfigError)
    check_schema(config, "config", FILE, ConfigError)
    config = {**config, **overrides}
    check_schema(config, "config", "--config" if overrides else FILE, ConfigError)
    known = sorted(path.stem for path in (root / "config" / "editions").glob("*.yaml"))
    if config["edition"] not in known:
        hint = did_you_mean(config["edition"], known)
        where = "--config" if "edition" in overrides else FILE
        raise ConfigError(
            where, "edition", f"expected one of {', '.join(known)}; got '{config['edition']}'{hint}"
        )
    return config
