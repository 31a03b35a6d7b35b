from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from lxbench import score
from lxbench.score import Counts


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Нажмите «решётку»!", "нажмите решетку"),
        ("Мой  номер\n— 4", "мой номер четыре"),
        ("в 21:05", "в двадцать один ноль пять"),
        ("007", "ноль ноль семь"),
        ("0", "ноль"),
        ("25%", "двадцать пять"),
        ("слу\u0301чай й", "случай й"),
        ("\u0438\u0306", "й"),
        ("", ""),
        ("…", ""),
        ("90" * 40, " ".join(["девять", "ноль"] * 40)),
    ],
)
def test_russian(text: str, wanted: str) -> None:
    assert score.russian(text) == wanted


def test_russian_is_stable() -> None:
    once = score.russian("Ёлка № 12, «да»?")
    assert score.russian(once) == once


def test_basic_keeps_digits_and_accents() -> None:
    assert score.basic("Café 24, s'il vous plaît") == "café 24 s il vous plaît"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("हिन्दी में।", "हिन्दी में"),  # vowel signs, the sign that takes a vowel away, a nasal
        ("ที่นี่", "ที่นี่"),
        ("မြန်မာ", "မြန်မာ"),
        ("বাংলা র‍্যাব", "বাংলা র্যাব"),  # a joiner shapes letters and ends no word
        ("ශ්‍රී ලංකා", "ශ්රී ලංකා"),
        ("می\u200cخواهم", "می خواهم"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("слу\u0301чай е\u0308лка и\u0306", "случай ёлка й"),
        ("ά ώ\u0331 n\u0303 e\u0329 \u0130", "ά ώ ñ e i"),
        ("❤\ufe0f 葛\U000e0100", "葛"),
        ("が か\u3099", "が が"),
    ],
)
def test_marks_are_dropped_where_people_may_leave_them_out(text: str, wanted: str) -> None:
    assert score.basic(text) == wanted


def test_a_wrong_vowel_sign_is_a_wrong_word() -> None:
    assert score.count(score.basic("किताब"), score.basic("कताब")).word_edits == 1


def test_an_older_version_of_a_normalizer_is_read_with_the_one_that_is_here() -> None:
    assert score.normalizer_named("basic/1").name == "basic/2"


@pytest.mark.parametrize(
    ("language", "wanted", "name"),
    [
        ("ru", "auto", "russian/1"),
        ("de", "auto", "basic/2"),
        ("en", "auto", f"english/whisper-normalizer-{version('whisper-normalizer')}"),
        ("ru", "basic", "basic/2"),
        ("ru", "none", "none/1"),
    ],
)
def test_a_normalizer_is_named_and_versioned_and_found_again(language: str, wanted: str, name: str) -> None:
    chosen = score.normalizer_for(language, wanted)
    assert chosen.name == name
    assert score.normalizer_named(name).apply is chosen.apply


def test_whispers_normalizer_can_be_imported_before_anybody_has_compiled_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", "from lxbench.score import english; print(english().name)"]
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}  # Where nothing is compiled.
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.stdout.startswith("english/"), done.stderr


def test_english_is_normalized_as_whisper_does() -> None:
    said = score.normalizer_for("en").apply("Mr. Brown won't pay twenty-five dollars; the colour's [noise] fine.")
    assert said == "mister brown will not pay $25 the color is fine"


def test_none_keeps_everything_but_spaces() -> None:
    assert score.normalizer_for("ru", "none").apply(" Ёлка,  24!\n") == "Ёлка, 24!"


def test_count() -> None:
    assert score.count("раз два три", "раз дваа три четыре") == Counts(3, 2, 11, 8)


def test_count_of_nothing_said_and_of_nothing_to_say() -> None:
    assert score.count("раз два", "") == Counts(2, 2, 7, 7)
    assert score.count("", "раз два") == Counts(0, 2, 0, 7)


def test_count_ignores_line_breaks_in_raw_texts() -> None:
    assert score.count("раз\nдва", "раз  два").word_edits == 0


def test_rates_are_of_the_corpus_and_not_the_mean_of_clips() -> None:
    counts = score.total([Counts(1, 1, 4, 4), Counts(9, 0, 36, 0)])
    assert counts.wer == pytest.approx(0.1)
    assert counts.cer == pytest.approx(0.1)


def test_rates_of_nothing_are_not_zero() -> None:
    assert math.isnan(Counts().wer)
    assert math.isnan(Counts().cer)


def test_align_pads_and_marks() -> None:
    assert score.align("раз два три", "раз двое") == [("раз ДВА  ТРИ", "раз ДВОЕ ***")]


def test_align_breaks_both_lines_at_the_same_word() -> None:
    assert score.align("раз два три", "раз двое три", width=9) == [("раз ДВА", "раз ДВОЕ"), ("три", "три")]


def test_the_pure_modules_import_without_torch() -> None:
    modules = "score, stats, verdict, baselines, corpus, settings, ladder, variants, models, history, run"
    imports = f"from lxbench import {modules}; from lxbench.run import ending, gate, looks, results, row, update"
    code = f"import sys; {imports}; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
