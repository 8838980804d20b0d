"""What the workflow mends of Snakemake is put in its place once, and a Snakemake that has moved it is named."""

from __future__ import annotations

from typing import Any

import pytest
import snakemake_executor_plugin_slurm
from snakemake.persistence.file import FilePersistence

from dualgrad.jobs.replaced import existing, replace


class Plain:
    """Stands in for a class of Snakemake's."""

    def words(self) -> list[str]:
        return ["plain"]


def longer(plain: Any) -> Any:
    return lambda self: [*plain(self), "more"]


def test_a_function_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "words", Plain.words)
    for _ in range(2):
        replace(Plain, "words", longer)
    assert Plain().words() == ["plain", "more"]


@pytest.mark.parametrize(
    ("owner", "where"),
    [
        (FilePersistence, "snakemake.persistence.file.FilePersistence"),
        (snakemake_executor_plugin_slurm, "snakemake_executor_plugin_slurm"),
        (Plain(), "test_replaced.Plain"),
    ],
)
def test_what_is_not_there_is_named_with_the_remedy(owner: Any, where: str) -> None:
    """In the words of workflow/rules/common.smk, where it imports what it mends."""
    words = "this Snakemake has moved what this workflow mends; envs/requirements.txt pins one that has not"
    for act in (existing, lambda owner, name: replace(owner, name, longer)):
        with pytest.raises(RuntimeError) as found:
            act(owner, "elsewhere")
        assert str(found.value) == f"{where} has no 'elsewhere': {words}"
    assert not hasattr(owner, "elsewhere")
