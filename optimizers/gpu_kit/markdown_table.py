"""Formats the record of the kit as Markdown tables for an issue report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_markdown(record: Mapping[str, Any]) -> str:
    """The record of `Kit.run` as Markdown."""
    machine = record["machine"]
    lines = [
        f"`{record['command']}`", "",
        f"{machine['device']}, torch {machine['torch']}, transformers {machine['transformers']}, TRL {machine['trl']}, "
        f"gmner {machine['gmner']}; {record.get('seconds', 0):.0f} s in total.", "",
    ]  # fmt: skip
    checks = record["checks"]
    if answered := [side for name in checks if name.startswith("answers-") for side in checks[name].get("sides", [])]:
        columns = {
            "rows": "rows", "side": "side", "prompt_tokens": "prompt tokens", "steps": "steps",
            "read_seconds": "s to the first token", "tokens_per_second": "tokens/s",
            "tokens_per_second_after_first": "tokens/s after the first", "milliseconds_per_step": "ms per step",
            "peak_gib": "peak GiB",
        }  # fmt: skip
        lines += [*_table(columns, answered), ""]
    stages = [{"stage": name, **checks[name]} for name in ("sft", "resume", "grpo") if "steps" in checks.get(name, {})]
    if stages:
        columns = {
            "stage": "stage", "steps": "steps", "samples_per_step": "samples per step",
            "samples_held": "samples in memory", "train_seconds": "s of training", "peak_gib": "peak GiB",
            "stage_gib": "GiB of the stage", "promised_gib": "GiB expected by the preset",
        }  # fmt: skip
        lines += [*_table(columns, stages), ""]
    for name in ("load", "probe", "photos", "scoring", "bundle"):
        if name in checks and not {"error", "skipped"} & set(checks[name]):
            lines.append(f"- {name}: " + ", ".join(f"{key} {value}" for key, value in checks[name].items()))
    failed = {name: check for name, check in checks.items() if "error" in check or "skipped" in check}
    lines += [f"- {name}: {check.get('error') or check['skipped']}" for name, check in failed.items()]
    return "\n".join(lines) + "\n"


def _table(columns: Mapping[str, str], rows: list[dict[str, Any]]) -> list[str]:
    head = [f"| {' | '.join(columns.values())} |", "|" + "---|" * len(columns)]
    return head + [f"| {' | '.join(str(row.get(key, '')) for key in columns)} |" for row in rows]
