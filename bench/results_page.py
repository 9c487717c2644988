# SPDX-License-Identifier: Apache-2.0
"""docs/results.md: one section a benchmark, each written from its JSON alone."""

import re

HEAD = """# Results

Written by `./dev bench`; every section comes from one program in `bench/` and one interleaved run. Ratios are what to compare:
absolute figures belong to the machine that the section names. Targets are minima; where less is better the ratio is inverted.
"""


def section(result):
    """The Markdown of one benchmark."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items()))
    lines = [f"## {result['bench']}", "", f"{result['date']} · {result['machine']} · {versions}", "",
             "| ratio | measured | target | |", "|---|---|---|---|"]
    for name, value in result["ratios"].items():
        target = result["targets"].get(name)
        verdict = "" if target is None else ("met" if value >= target else "**missed**")
        lines.append(f"| {name} | {value:.3f} | {'' if target is None else f'{target:.2f}'} | {verdict} |")
    lines += ["", "| figure | median | quartiles | unit |", "|---|---|---|---|"]
    for figure in result["results"]:
        tail = f", p99 {figure['p99']:.3f}, p999 {figure['p999']:.3f}" if "p99" in figure else ""
        lines.append(f"| {figure['name']} | {figure['median']:.3f} | {figure['p25']:.3f} to {figure['p75']:.3f}{tail} | {figure['unit']} |")
    lines += ["", *settings_lines(result["settings"])]
    return "\n".join(lines) + "\n"


def settings_lines(settings):
    """The settings in one line, or one line for each part of a merged benchmark."""
    parts = settings if all(isinstance(value, dict) for value in settings.values()) else {"settings": settings}
    lines = []
    for part, values in parts.items():
        text = ", ".join(f"{name} {round(value, 3) if isinstance(value, float) else value}" for name, value in values.items())
        warning = "" if values.get("valid", True) else " **The baseline varied by more than 10 %: not valid.**"
        lines.append(f"- {part}: {text}.{warning}")
    return lines


def refresh(page, order, result):
    """`page` with the section of `result` replaced or added; sections stand in `order`."""
    sections = {}
    for text in re.split(r"(?m)^(?=## )", page)[1:]:
        sections[text.splitlines()[0].removeprefix("## ")] = text.strip() + "\n"
    sections[result["bench"]] = section(result)
    known = [name for name in order if name in sections]
    return HEAD + "".join("\n" + sections[name] for name in known + sorted(set(sections) - set(known)))
