"""The page of a run: what stands in it, and that it works in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lxbench.report import page
from lxbench.report.__main__ import main
from lxbench.run import results
from tests.suite import ROOT, copy_clips
from tools.picture import CHROMIUM

EVIL = "<script>document.title='harmed'</script>"


def clip(id: str, text: str, edits: int, seconds: float = 0.6) -> dict[str, Any]:
    return {
        "id": id, "fingerprint": f"f-{id}", "text": text, "tokens": 3, "seconds": seconds, "pairs": [(1.2, seconds)],
        "words": 2, "word_edits": edits, "characters": 8, "character_edits": 4 * edits,
    }  # fmt: skip


def row(variant: str, clips: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    wer = sum(each["word_edits"] for each in clips) / sum(each["words"] for each in clips)
    return {
        "id": f"{variant}-cpu", "variant": variant, "device": "cpu", "reference": variant == "fp32", "verdict": "PASS",
        "verdicts": {"accuracy": {"word": "PASS", "text": "fine"}}, "usable": True, "shown_usable": True,
        "declared_unusable": False, "complete": True, "shortened": False, "warnings": [], "disturbance": None,
        "profile": {}, "wer": wer, "cer": wer / 2, "seconds": 0.6, "processes": 1,
        "parts": {"features": 0.01, "encoder": 0.25, "decoder": 0.33, "rest": 0.01},
        "peak_mib": 900.0, "size_mib": 138.0,
        "ratio": None if variant == "fp32" else {"value": 1.8, "low": 1.7, "high": 1.9}, "build": None,
        "baseline": None, "crash": None, "clips": clips, **values,
    }  # fmt: skip


def run_of(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    said = [
        {"id": each["id"], "text": "раз два", "seconds": 1.5, "fingerprint": each["fingerprint"], "path": "no.flac"}
        for each in rows[0]["clips"]
    ]
    return {
        "format": results.FORMAT, "started": "2026-11-24T22-09-56", "command": "nox -s bench-cpu", "interrupted": False,
        "device": "cpu", "language": "ru", "normalizer": "russian/1", "next": None, "notes": [], "orphans": [],
        "absent": [], "order": [each["variant"] for each in rows], "versions": {"torch": "2.13.0"},
        "model": {"spec": "embedded", "name": "whisper-base", "fingerprint": "m", "card": ["(0-5): 6 x Layer"]},
        "corpus": {"name": "ivr-ru", "fingerprint": "c", "seconds": 3.0, "clips": said},
        "machine": {"cpu": "EPYC", "threads": 2, "gpu": None, "isa": ["avx2"]}, "rows": list(rows), "history": [],
        "harness": {"wall_s": 9.0, "transcribing_share": 0.9, "loading_share": 0.09, "own_share": 0.01}, **values,
    }  # fmt: skip


@pytest.fixture
def small() -> dict[str, Any]:
    """A run of three rows over two clips: one says a script, one has changed since its baseline."""
    bf16 = row("bf16", [clip("a", "раз два", 0, 0.3), clip("b", EVIL, 2, 0.4)])
    q = row("q", [clip("a", "раз тир", 1), clip("b", "раз два", 0)], verdict="REGRESSED", usable=False)
    q["baseline"] = {"clips": {"a": {"text": "раз два", "word_edits": 0}, "b": {"text": "раз два", "word_edits": 0}}}
    return run_of(row("fp32", [clip("a", "раз два", 0, 1.2), clip("b", "Раз, два.", 0, 1.3)]), bf16, q)


def test_equal_texts_stand_once_and_what_differs_is_marked(small: dict[str, Any]) -> None:
    a, b = page.values([small], [Path()], Path())["clips"]
    assert [(said["text"], said["rows"]) for said in a["said"]] == [("раз два", [0, 1]), ("раз тир", [2])]
    assert a["said"][1] | {"text": ""} == {
        "text": "", "edits": 1, "diff": [("=", "раз", "раз"), ("~", "два", "тир")],
        "rows": [2], "changed": [2], "differs": [2],
    }  # fmt: skip
    assert [said["differs"] for said in b["said"]] == [[], [1], []]  # "Раз, два." and "раз два" are the same words
    assert b["audio"] is None


def frontier(*rows: dict[str, Any]) -> set[str]:
    return page.frontier(rows, {each["variant"]: page.error_rate(each, rows) for each in rows})


def test_the_frontier_joins_usable_rows_that_none_beats(small: dict[str, Any]) -> None:
    fp32, bf16, q = small["rows"]
    fast = {**q, "variant": "fast", "usable": True, "wer": 0.0, "ratio": {"value": 2.0, "low": 1.9, "high": 2.1}}
    assert frontier(fp32, bf16, q) == {"fp32", "bf16"}  # bf16 has more errors and more speed; q is not usable
    assert frontier(fp32, {**bf16, "wer": 0.0}, fast) == {"fast"}
    assert frontier({**fp32, "wer": 0.0}, {**bf16, "wer": 0.1}) == {"fp32", "bf16"}


def test_a_row_that_heard_easy_clips_alone_is_not_better_for_it(small: dict[str, Any]) -> None:
    fp32, bf16, _ = small["rows"]
    fp32["wer"] = 0.14
    part = {
        **bf16,
        "wer": 0.11,
        "shortened": True,
        "against_reference": {"rate": {"value": 0.01, "low": 0.0, "high": 0.02}},
    }
    found = page.error_rate(part, [fp32, part])
    assert found == pytest.approx({"wer": 0.15, "wer_low": 0.14, "wer_high": 0.16})
    assert page.error_rate({**part, "shortened": False}, [fp32, part])["wer"] == 0.11
    assert page.error_rate(part, [part])["wer"] == 0.11  # fp32 was not run


def test_nothing_that_is_said_becomes_markup(small: dict[str, Any]) -> None:
    small["notes"] = [EVIL]
    small["rows"][1]["variant"] = EVIL
    small["order"][1] = EVIL
    text = page.render([small], [Path()], Path())
    assert EVIL not in text
    assert "&lt;script&gt;document.title" in text
    assert text.count("<script") == text.count("</script>") == 4


def test_a_recording_is_linked_where_it_is_still_there(small: dict[str, Any], tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "a b", 1)
    (recording,) = folder.glob("*.flac")
    small["corpus"]["clips"][0]["path"] = f"../../a b/{recording.name}"
    run_folder = tmp_path / "results" / "now"
    run_folder.mkdir(parents=True)
    a, b = page.values([small], [run_folder], run_folder)["clips"]
    assert (a["audio"], b["audio"]) == (f"../../a%20b/{recording.name}", None)
    assert page.values([small], [run_folder], tmp_path)["clips"][0]["audio"] == f"a%20b/{recording.name}"


def test_a_results_folder_may_be_a_link(small: dict[str, Any], tmp_path: Path) -> None:
    """What its paths climb out of is where the link stands, or where it leads."""
    folder = copy_clips(tmp_path / "clips", 1)
    (recording,) = folder.glob("*.flac")
    elsewhere = tmp_path / "some" / "where" / "else" / "results"
    (elsewhere / "now").mkdir(parents=True)
    (tmp_path / "results").symlink_to(elsewhere)
    run_folder = tmp_path / "results" / "now"
    for path in (f"../../clips/{recording.name}", f"../../../../../clips/{recording.name}"):
        small["corpus"]["clips"][0]["path"] = path
        link = page.values([small], [run_folder], run_folder)["clips"][0]["audio"]
        assert link == f"../../clips/{recording.name}"


def test_runs_stand_side_by_side(small: dict[str, Any]) -> None:
    other = {**small, "machine": {**small["machine"], "gpu": "H100"}}
    both = page.values([small, other, small], [Path()] * 3, Path())
    assert both["runs"] == ["EPYC, 2026-11-24T22-09 (1)", "H100, 2026-11-24T22-09", "EPYC, 2026-11-24T22-09 (2)"]
    assert [each["label"] for each in both["rows"]][3] == "fp32, H100, 2026-11-24T22-09"
    assert both["clips"][0]["said"][0]["rows"] == [0, 1, 3, 4, 6, 7]


def test_runs_of_different_things_are_called_by_what_differs(small: dict[str, Any]) -> None:
    other = {**small, "model": {**small["model"], "name": "whisper-small"}, "device": "cuda"}
    assert page.labels([small, other, small]) == [
        "whisper-base, cpu, EPYC, 2026-11-24T22-09 (1)",
        "whisper-small, cuda, EPYC, 2026-11-24T22-09",
        "whisper-base, cpu, EPYC, 2026-11-24T22-09 (2)",
    ]
    text = page.render([small, other, small], [Path()] * 3, Path())
    assert "<h1>whisper-base and whisper-small on ivr-ru, cpu and cuda</h1>" in text
    assert "<h1>whisper-base on ivr-ru, cpu</h1>" in page.render([small, small], [Path()] * 2, Path())


def test_the_history_of_a_machine_is_of_the_page_of_one_run(small: dict[str, Any]) -> None:
    small["history"] = HISTORY
    assert page.values([small], [Path()], Path())["history"] == HISTORY
    assert page.values([small, small], [Path()] * 2, Path())["history"] == []


def saved(folder: Path, run: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(run, ensure_ascii=False), "utf-8")
    return folder


def rebuild(*arguments: object, torch: bool = True) -> subprocess.CompletedProcess[str]:
    block = "" if torch else "sys.modules['torch'] = sys.modules['transformers'] = None; "
    code = f"import sys; {block}from lxbench.report.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_rebuilt_from_saved_runs_without_torch(small: dict[str, Any], tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", small), saved(tmp_path / "two", small)
    done = rebuild(one, two / "results.json", torch=False)
    assert done.stdout == f"written: {one / 'report.html'}\n", done.stderr
    assert done.returncode == 0
    assert "2026-11-24T22-09 (2)" in (one / "report.html").read_text("utf-8")


def test_the_page_goes_where_it_is_wanted_or_the_place_is_refused(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "a run", small)
    assert main([str(run), "--out", str(tmp_path)]) == 0
    assert main([str(run), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"written: {tmp_path / 'report.html'}",
        f"written: {tmp_path / 'new' / 'page.html'}",
    ]
    place = run / "results.json" / "page.html"  # no folder
    assert main([str(run), "--out", str(place)]) == 4
    told = capsys.readouterr().err
    assert f"ERROR: {place} cannot be written: " in told
    assert f"next: nox -s report -- '{run}' --out /tmp/report.html" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read as a run: FileNotFoundError"), ("timings", "has the timings of a run alone")],
)
def test_what_is_not_a_run_is_refused(tmp_path: Path, small: dict[str, Any], content: str | None, message: str) -> None:
    folder = tmp_path / "run"
    if content is not None:
        saved(folder, {key: value for key, value in small.items() if key != "command"})
    done = rebuild(folder)
    assert message in done.stderr
    assert "next: nox -s " in done.stderr
    assert done.returncode == 4


def test_runs_that_mean_other_things_do_not_stand_side_by_side(tmp_path: Path, small: dict[str, Any]) -> None:
    one = saved(tmp_path / "one of two", small)
    clips = [{**each, "fingerprint": "other"} for each in small["corpus"]["clips"]]
    other = saved(tmp_path / "other", {**small, "corpus": {**small["corpus"], "clips": clips}})
    raw = saved(tmp_path / "raw", {**small, "normalizer": "none/1"})
    for folder, message in (
        (other, "clip a is another recording, or has another text"),
        (raw, "their normalisers are russian/1 and none/1"),
    ):
        done = rebuild(one, folder)
        assert f"{one} and {folder} cannot stand side by side: {message}" in done.stderr
        assert f"next: nox -s report -- '{one}'\n" in done.stderr
        assert done.returncode == 4
    assert not (one / "report.html").exists()


def large(rows: int, clips: int) -> dict[str, Any]:
    """A run of so many rows over so many clips, a third of the texts with an error of its own."""
    names = ["fp32", *(f"row-{number}" for number in range(1, rows))]
    texts = [f"раз два {'слово ' * 8}{number}" for number in range(clips)]
    return run_of(
        *(
            row(name, [clip(f"c{n}", f"{text} {place}" if (n + place) % 3 == 0 else text, int((n + place) % 3 == 0))
                       for n, text in enumerate(texts)])
            for place, name in enumerate(names)
        )
    )  # fmt: skip


def test_a_page_of_20_rows_and_96_clips_weighs_less_than_3_mb() -> None:
    assert len(page.render([large(20, 96)], [Path()], Path()).encode()) < 3_000_000


# --- in the browser ----------------------------------------------------------------------------------------

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def opened(path: Path, script: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    """Open a page in headless Chromium, run a script at its end, and return what it says, with all errors."""
    assert CHROMIUM is not None
    catch = "const errors = []; addEventListener('error', (e) => errors.push(e.message));"
    say = f"""
        (async () => {{
          const result = await (async () => {{ {script} }})();
          document.body.append(Object.assign(document.createElement("pre"),
            {{ id: "said", textContent: JSON.stringify({{ ...result, errors }}) }}));
        }})();"""
    text = path.read_text("utf-8").replace("<head>", f"<head><script>{catch}</script>", 1)
    probe = path.with_name("probe.html")
    probe.write_text(text.replace("</body>", f"<script>{say}</script></body>"), "utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--allow-file-access-from-files", "--autoplay-policy=no-user-gesture-required", *options,
         "--virtual-time-budget=20000", "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "LANG": "C.UTF-8"},
    )  # fmt: skip
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert answer.pop("errors") == []
    return answer


def written(run: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(page.render([run], [folder], folder), "utf-8")
    return path


@browser
def test_it_renders_sorts_filters_and_shows_tooltips(small: dict[str, Any], tmp_path: Path) -> None:
    said = opened(
        written(small, tmp_path / "run"),
        """
        const lines = document.querySelector("table.sortable").tBodies[0].rows;
        const names = () => [...lines].map((tr) => tr.cells[0].textContent);
        const shown = () => [...document.querySelectorAll(".clip h3")].map((h) => h.firstChild.textContent);
        const button = document.querySelectorAll("table.sortable th button")[1];
        button.click(); const up = names(); button.click(); const down = names();
        const choose = (id, value) => { document.getElementById(id).value = value; filter(); return shown(); };
        const chart = document.querySelector("#speed svg"), box = chart.getBoundingClientRect();
        const dot = chart.querySelector('[aria-label="dot"] circle').getBoundingClientRect();
        chart.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, pointerType: "mouse",
          clientX: dot.x + dot.width / 2, clientY: dot.y + dot.height / 2 }));
        await new Promise((done) => setTimeout(done, 100));
        return { up, down, title: document.title, charts: document.querySelectorAll("figure svg").length,
          parts: document.querySelectorAll('#parts [aria-label="bar"] rect').length,
          tip: chart.querySelector('[aria-label="tip"]').textContent, all: shown(),
          wrong: choose("which", "wrong"), changed: choose("which", "changed"), differs: choose("which", "differs"),
          searched: choose("which", "all") && choose("query", "тир"),
          marks: document.querySelectorAll("del, ins").length,
          count: document.getElementById("count").textContent };
        """,
        tmp_path,
    )
    assert (said["up"], said["down"]) == (["fp32", "q", "bf16"], ["bf16", "q", "fp32"])
    assert said["title"] == "lxbench: whisper-base on ivr-ru, cpu"  # and not what the transcript would have made of it
    assert said["charts"] >= 4
    assert said["parts"] == 3 * 4
    assert "WER 0.000, CER 0.000" in said["tip"]
    assert (said["all"], said["wrong"], said["changed"], said["differs"]) == (["a", "b"], ["a", "b"], ["a"], ["a", "b"])
    assert (said["searched"], said["marks"], said["count"]) == (["a"], 2, "1 of 2 clips")


@browser
@pytest.mark.parametrize("width", [420, 1200])
def test_names_in_the_chart_stand_apart(tmp_path: Path, width: int) -> None:
    """Twelve rows of nearly the same speed and words, as masks and compilation are."""
    rows = [row("fp32", [clip("a", "раз два", 0, 1.2)])]
    for n in range(12):
        ratio = 0.95 + n / 100
        values = {"ratio": {"value": ratio, "low": ratio - 0.02, "high": ratio + 0.02}, "wer": 0.14 + n % 3 / 500}
        rows.append(row(f"some-variant-{n}", [clip("a", "раз два", 0)], **values))
    rows[0]["wer"] = 0.139
    said = opened(
        written(run_of(*rows), tmp_path / "run"),
        """
        const names = [...document.querySelectorAll('#speed [aria-label="text"] text')];
        const boxes = names.map((text) => text.getBoundingClientRect());
        const page = document.getElementById("speed").getBoundingClientRect();
        const across = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
        const cut = (box) => box.right > page.right + 1 || box.left < page.left - 1;
        return { names: boxes.length, cut: boxes.filter(cut).length,
          across: boxes.flatMap((a, n) => boxes.slice(n + 1).filter((b) => across(a, b))).length };
        """,
        tmp_path,
        f"--window-size={width},900",
    )
    assert said == {"names": 13, "cut": 0, "across": 0}


@browser
def test_a_ruined_row_does_not_hide_where_the_others_spend_their_time(small: dict[str, Any], tmp_path: Path) -> None:
    small["rows"][2] |= {"seconds": 12.3, "parts": {"features": 0.1, "encoder": 0.6, "decoder": 11.5, "rest": 0.1}}
    said = opened(
        written(small, tmp_path / "run"),
        """
        return { bars: document.querySelectorAll('#parts [aria-label="bar"] rect').length,
          caption: document.getElementById("parts-caption").textContent };
        """,
        tmp_path,
    )
    assert said == {"bars": 2 * 4, "caption": " Beyond the chart: q (12.3 s)."}


@browser
def test_a_run_that_timed_nothing_has_no_charts_of_time(small: dict[str, Any], tmp_path: Path) -> None:
    rows = [{**each, "seconds": None, "ratio": None, "parts": None} for each in small["rows"]]
    said = opened(
        written({**small, "rows": rows}, tmp_path / "run"),
        """
        const shown = [...document.querySelectorAll("#charts > figure")].filter((figure) => !figure.hidden);
        return { shown: shown.map((figure) => figure.lastElementChild.id),
          clips: document.querySelectorAll(".clip").length };
        """,
        tmp_path,
    )
    assert said == {"shown": ["memory"], "clips": 2}


HISTORY = [
    {"name": name, "ratio": ratio + day / 10, "at": f"2026-11-2{day}T08:00:00+00:00", "commit": None}
    for day in (1, 2, 3)
    for name, ratio in (("bf16", 1.8), ("q", 1.5))
]


@browser
def test_saved_runs_are_drawn_on_the_page_of_one_run_alone(small: dict[str, Any], tmp_path: Path) -> None:
    """Side by side the runs that two histories share would be drawn twice, and two machines as one."""
    count = """
        return { hidden: document.getElementById("history").closest("figure").hidden,
          lines: document.querySelectorAll('#history [aria-label="line"] path').length,
          dots: document.querySelectorAll('#history [aria-label="dot"] circle').length };
        """
    small["history"] = HISTORY
    one = opened(written(small, tmp_path / "run"), count, tmp_path)
    assert one == {"hidden": False, "lines": 2, "dots": len(HISTORY)}
    both = tmp_path / "both.html"
    other = {**small, "machine": {**small["machine"], "cpu": "Xeon"}, "history": HISTORY[:2]}
    both.write_text(page.render([small, other], [tmp_path] * 2, tmp_path), "utf-8")
    assert opened(both, count, tmp_path) == {"hidden": True, "lines": 0, "dots": 0}


@browser
def test_a_recording_plays(small: dict[str, Any], tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "corpus", 1)
    (recording,) = folder.glob("*.flac")
    small["corpus"]["clips"][0]["path"] = f"../corpus/{recording.name}"
    said = opened(
        written(small, tmp_path / "run"),
        """
        const audio = document.querySelector("audio");
        const ready = new Promise((done) => { audio.onloadedmetadata = () => done(audio.duration);
          audio.onerror = () => done(audio.error.message); });
        audio.load();
        return { seconds: await ready };
        """,
        tmp_path,
    )
    assert 0.5 < said["seconds"] < 30


@browser
def test_2000_clips_open_and_filter_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    path = written(large(20, 2000), tmp_path / "run")
    assert time.monotonic() - began < 60
    said = opened(
        path,
        """
        const took = (which) => { document.getElementById("which").value = which;
          const start = performance.now(); filter(); document.body.offsetHeight; return performance.now() - start; };
        return { clips: data.clips.length, ms: [took("wrong"), took("differs"), took("all")],
          count: document.getElementById("count").textContent };
        """,
        tmp_path,
    )
    assert (said["clips"], said["count"]) == (2000, "2000 of 2000 clips")
    assert max(said["ms"]) < 500


@browser
def test_dark_mode_is_legible(small: dict[str, Any], tmp_path: Path) -> None:
    """Text and verdicts stand out from what is behind them, in both schemes: WCAG's contrast of 4.5."""
    script = """
        const parse = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const light = (color) => { const [r, g, b] = parse(color); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const back = light(getComputedStyle(document.body).backgroundColor);
        const contrast = (element) => { const other = light(getComputedStyle(element).color);
          return (Math.max(back, other) + 0.05) / (Math.min(back, other) + 0.05); };
        const texts = document.querySelectorAll("td, .badge, .quiet, .who, h1, a, figcaption");
        const worst = Math.min(...[...texts].map(contrast));
        return { worst, back };
    """
    path = written(small, tmp_path / "run")
    light = opened(path, script, tmp_path)
    dark = opened(path, script, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light["back"] > 0.9
    assert dark["back"] < 0.05
    assert min(light["worst"], dark["worst"]) >= 4.5
