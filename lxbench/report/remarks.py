"""What a reader of the final table should know: the notes under it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from lxbench.commands import to_compare_codes, typed
from lxbench.report.table import Record, Results
from lxbench.stats import drift, timing_of
from lxbench.verdict import Word
from lxbench.verdict_speed import OTHER_STATE

DISTURBED = 0.2  # cores, from which on seconds are said to be too high


def remarks(results: Results) -> Iterator[str]:
    """Yield what a reader of the table should know: rows on fewer clips, warnings of libraries, notes of the run."""
    total = len(results["corpus"]["clips"])
    warned: dict[str, list[str]] = {}
    for row in results["rows"]:
        if row["complete"] and len(row["clips"]) < total and not row.get("shortened"):
            yield f"{row['variant']} was run on the first {len(row['clips'])} of {total} clips alone"
        if row.get("measured_as"):
            yield f"{row['variant']} has the steps of {row['measured_as']} and shares its measurement"
        if row.get("excused"):
            yield f"{row['variant']} is red and does not fail the run, for it is marked xfail: {row['excused']}"
    if results.get("interrupted"):
        whole = len(results["corpus"]["clips"])
        begun = [row for row in results["rows"] if not (row["complete"] or row.get("crash"))]
        cut = [f"{row['variant']} heard {len(row['clips'])} of {whole} clips" for row in begun]
        yield "; ".join(["the run was cut off before the end, and rows that it had not come to are not here", *cut])
    declared = [row for row in results["rows"] if row["declared_unusable"] and row["usable"]]
    if harmless := [row["variant"] for row in declared if row["verdicts"].get("usable", {}).get("word") == Word.PASS]:
        yield f"declared unusable of the model and the corpus that come along, and usable here: {', '.join(harmless)}"
    yield from shortened(results)
    shown = [row for row in results["rows"] if row["usable"] and not row["reference"]]
    if doubtful := [row["variant"] for row in shown if row["shown_usable"] is False]:
        yield (
            f"within the margin of fp32 as measured, but {total} clips are too few to show it (the interval reaches "
            f"beyond): {', '.join(doubtful)}"
        )
    yield from _said_otherwise(results)
    yield from _disturbed(results)
    yield from _other_state(results)
    yield from _throttled(results)
    if "suspected" in results and (names := results["suspected"]["rows"]):  # Runs that were saved before have none.
        both = typed(to_compare_codes(results["device"], [], "COMMIT"))
        told = f"look slower than is tolerated, which is not sure: {', '.join(names)}"
        yield f"{told}; {both} tells slower code from the machine"
    for row in results["rows"]:
        for warning in row["warnings"]:
            warned.setdefault(warning, []).append(row["variant"])
    for warning, names in warned.items():
        yield f"warning in {', '.join(names)}: {warning}"
    yield from results["notes"]


def shortened(results: Results) -> Iterator[str]:
    """Say which rows heard a part of the clips alone, and what fp32 makes of that part."""
    # One that was cut off on the way to its part is not judged.
    rows = [row for row in results["rows"] if row.get("shortened") and row["complete"]]
    if not rows:
        return
    heard, total = {clip["id"] for clip in rows[0]["clips"]}, len(results["corpus"]["clips"])
    fp32: Record = next((row for row in results["rows"] if row["reference"]), {"clips": (), "seconds": None})
    there = [clip for clip in fp32["clips"] if clip["id"] in heard]
    edits, words, seconds = (sum(clip[name] for clip in there) for name in ("word_edits", "words", "seconds"))
    timed = f", {seconds / len(there):.3f} s/audio" if fp32["seconds"] else ""
    beside = f" (fp32 there: WER {edits / words:.3f}{timed})" if words else ""
    yield (
        f"*: recorded as hardly faster than fp32, judged on the first {len(heard)} of {total} clips{beside}, where "
        f"they say what they said then: {', '.join(row['variant'] for row in rows)}; --benchmark-disable hears all"
    )


def _said_otherwise(results: Results) -> Iterator[str]:
    """Say which rows said something else in batches than one by one, and to how many clips."""
    done = {row["variant"]: row.get("throughput") for row in results["rows"]}
    if changed := {name: each for name, each in done.items() if each and each["changed"]}:
        counts = ", ".join(f"{name} ({len(each['changed'])} of {each['clips']})" for name, each in changed.items())
        yield f"said something else to some clips in batches than one by one: {counts}"


def _disturbed(results: Results) -> Iterator[str]:
    """Say when somebody else had a good part of the machine: ratios survive that, seconds do not."""
    for name, unit in (("others", "other processes used"), ("stolen", "the hypervisor gave away")):
        seen = {row["variant"]: (row["disturbance"] or {}).get(name) or 0.0 for row in results["rows"]}
        if busy := {variant: cores for variant, cores in seen.items() if cores >= DISTURBED}:
            yield (
                f"{unit} {min(busy.values()):.1f} to {max(busy.values()):.1f} cores while these rows were timed: "
                f"{', '.join(busy)}; their seconds are too high"
            )


def _throttled(results: Results) -> Iterator[str]:
    """Say which clocks a GPU had, and what kept them down."""
    seen = {row["variant"]: row["gpu"] for row in results["rows"] if row.get("gpu")}
    clocks = [state["sm_mhz"] for state in seen.values() if state["sm_mhz"]]
    if clocks:
        slowest, fastest = f"{min(clocks):.0f}", f"{max(clocks):.0f}"
        between = fastest if slowest == fastest else f"{slowest} to {fastest}"
        yield f"the GPU's clock was {between} MHz while rows were timed"
    if slowed := [f"{name} ({', '.join(state['throttled'])})" for name, state in seen.items() if state["throttled"]]:
        yield f"the GPU was throttled while these rows were timed: {', '.join(slowed)}"


def _other_state(results: Results) -> Iterator[str]:
    """Say beside which rows fp32 itself was slower than beside the others: their ratios are of another machine."""
    taken = {row["variant"]: timing_of(row).reference for row in results["rows"] if row["ratio"]}
    by_clip: dict[str, list[float]] = {}
    for seconds in taken.values():
        for id, value in seconds.items():
            by_clip.setdefault(id, []).append(value)
    usual = {id: statistics.median(values) for id, values in by_clip.items()}
    slower = {name: drift(seconds, usual) - 1 for name, seconds in taken.items()}
    if slow := {name: more for name, more in slower.items() if more > OTHER_STATE}:
        yield (
            f"fp32 itself took longer beside {', '.join(f'{name} ({more:+.0%})' for name, more in slow.items())} than "
            "beside the other rows: the machine was in another state, and these ratios are of that state"
        )
