from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lxbench import corpus, score
from lxbench.corpus import audio, listing
from lxbench.corpus.audio import read_audio, resample
from lxbench.errors import CacheError, CorpusError
from lxbench.run import planning
from lxbench.settings import Settings
from tests.suite import CORPORA


def test_the_embedded_corpus_is_whole() -> None:
    clips = corpus.load("ivr-ru", CORPORA).clips
    assert len(clips) == 96
    assert sum(clip.seconds for clip in clips) == pytest.approx(297, abs=1)
    assert sum(len(score.russian(clip.text).split()) for clip in clips) == 603
    assert "CC-BY 3.0" in (CORPORA / "ivr-ru" / "ATTRIBUTION.md").read_text("utf-8")


def test_the_embedded_corpus_is_the_one_that_baselines_know() -> None:
    assert corpus.load("ivr-ru", CORPORA).fingerprint == "2940d55dc9cd4716"


def test_the_first_clips_are_always_the_same() -> None:
    whole = corpus.load("ivr-ru", CORPORA).clips
    assert corpus.load("ivr-ru", CORPORA, 8).clips == whole[:8]
    assert [clip.id for clip in whole[:3]] == ["conf-placeintoconf", "vm-nonumber", "pbx-invalidpark"]


def test_more_clips_than_there_are_means_all(small_corpus: Path) -> None:
    assert len(corpus.load(str(small_corpus), CORPORA, 1000).clips) == 3


def test_the_order_of_lines_does_not_matter(small_corpus: Path) -> None:
    before = corpus.load(str(small_corpus), CORPORA)
    listing = small_corpus / "metadata.jsonl"
    listing.write_text("\n".join(reversed(listing.read_text("utf-8").splitlines())), "utf-8")
    assert corpus.load(str(small_corpus), CORPORA) == before


def test_the_same_clips_read_from_csv_and_from_a_manifest(small_corpus: Path) -> None:
    wanted = corpus.load(str(small_corpus), CORPORA)
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    manifest = small_corpus / "test.jsonl"
    manifest.write_text(
        "".join(json.dumps({"audio_filepath": row["file_name"], "text": row["transcription"]}) + "\n" for row in rows)
    )
    assert corpus.load(str(manifest), CORPORA).clips == wanted.clips
    (small_corpus / "metadata.jsonl").unlink()
    lines = [f'{row["file_name"]},"{row["transcription"]}"' for row in rows]
    (small_corpus / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]), "utf-8")
    assert corpus.load(str(small_corpus), CORPORA) == wanted


def test_fingerprints_follow_audio_text_and_order(small_corpus: Path) -> None:
    before = corpus.load(str(small_corpus), CORPORA)
    clip = before.clips[0]
    audio = read_audio(clip.path).copy()
    audio[100] += 0.25
    soundfile.write(clip.path, audio, 16_000)
    after = corpus.load(str(small_corpus), CORPORA)
    assert after.fingerprint != before.fingerprint
    assert [one.id for one, two in zip(before.clips, after.clips, strict=True) if one != two] == [clip.id]


def broken(folder: Path, kind: str) -> None:
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    file = folder / rows[0]["file_name"]
    speech = read_audio(file)

    def raw() -> None:
        rows[0]["file_name"] = file.rename(file.with_suffix(".raw")).name

    changes = {
        "raw": raw,
        "corrupt": lambda: file.write_bytes(file.read_bytes()[:50] + b"\xff" * 100),
        "not audio": lambda: file.write_text("hello"),
        "gone": file.unlink,
        "empty": lambda: soundfile.write(file, np.zeros(0), 16_000, format="WAV"),
        "silent": lambda: soundfile.write(file, np.zeros(16_000), 16_000),
        "cancelled": lambda: soundfile.write(file, np.stack([speech, -speech], 1), 16_000),
        "clipped": lambda: soundfile.write(file, np.clip(speech * 40, -1, 1), 16_000),
        "click": lambda: soundfile.write(file, speech[:800], 16_000),
        "endless text": lambda: rows[0].update(transcription="раз " * 500),
        "long": lambda: soundfile.write(file, np.resize(speech, 31 * 16_000), 16_000),
        "NaN": lambda: soundfile.write(file, np.full(16_000, np.nan, "float32"), 16_000, "FLOAT", format="WAV"),
        "no text": lambda: rows[0].update(transcription=" "),
    }
    changes[kind]()
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("corrupt", "unreadable audio"),
        ("raw", "unreadable audio"),
        ("not audio", "unreadable audio"),
        ("gone", "no file"),
        ("empty", "empty audio"),
        ("silent", "silent audio"),
        ("cancelled", "silent audio"),
        ("clipped", "clipped audio: [0-9]+% of the samples are at full scale"),
        ("click", "0.05 s of audio, too short for a word"),
        ("endless text", "2000 letters of text in .* nobody speaks so fast"),
        ("long", "31.0 s of audio, more than the 30 s of one window"),
        ("NaN", "NaN or infinite samples"),
        ("no text", "empty reference text"),
    ],
)
def test_a_bad_clip_is_named_with_its_line(small_corpus: Path, kind: str, message: str) -> None:
    broken(small_corpus, kind)
    with pytest.raises(CorpusError, match=message) as raised:
        corpus.load(str(small_corpus), CORPORA)
    assert "1 of 3 clips" in str(raised.value)
    assert "metadata.jsonl:1: " in str(raised.value)


def test_what_is_no_csv_is_named_with_its_line(small_corpus: Path) -> None:
    (small_corpus / "metadata.jsonl").unlink()
    (small_corpus / "metadata.csv").write_text(f"file_name,transcription\na.flac,{'x' * 200_000}\n")
    with pytest.raises(CorpusError, match=r"metadata.csv:\d+: not CSV from here on: field larger than field limit"):
        corpus.load(str(small_corpus), CORPORA)


def table(folder: Path, name: str, *texts: str) -> Path:
    """A listing of the small corpus, with these texts as they are to stand in it."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    lines = [f"{row['file_name']}\t{text}" for row, text in zip(rows, texts, strict=True)]
    text = "\n".join(["path\tsentence", *lines]) + "\n"
    (folder / name).write_text(text if name.endswith(".tsv") else text.replace("\t", ","), "utf-8")
    return folder / name


def test_a_lone_quote_in_a_tsv_swallows_nothing(small_corpus: Path) -> None:
    listing = table(small_corpus, "test.tsv", '"раз', '"Да", сказал "он"', '"сказал ""да"""')
    texts = {clip.text for clip in corpus.load(str(listing), CORPORA).clips}
    assert texts == {'"раз', '"Да", сказал "он"', 'сказал "да"'}


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        (
            "test.csv",
            ("раз", '"два', "три"),
            r"1 of 2 .*\n.*test\.csv:3: a cell that is several lines long",
        ),
        ("test.csv", ("раз, два", "два", "три"), r"1 of 3 .*\n.*test\.csv:2: cells: 3, columns: 2"),
        ("test.tsv", ("раз", "два\tдва", "три"), r"1 of 3 .*\n.*test\.tsv:3: cells: 3, columns: 2"),
    ],
)
def test_a_row_that_is_read_as_another_is_a_bad_clip(
    small_corpus: Path, name: str, texts: tuple[str, ...], message: str
) -> None:
    listing = table(small_corpus, name, *texts)
    with pytest.raises(CorpusError, match=message):
        corpus.load(str(listing), CORPORA)


def test_a_row_with_too_few_cells_is_a_bad_clip(small_corpus: Path) -> None:
    listing = table(small_corpus, "test.tsv", "раз", "два", "три")
    listing.write_text(listing.read_text("utf-8").replace("\tдва", ""), "utf-8")
    with pytest.raises(CorpusError, match=r"1 of 3 .*\n.*test\.tsv:3: cells: 1, columns: 2"):
        corpus.load(str(listing), CORPORA)


def test_all_bad_clips_are_reported_at_once(small_corpus: Path) -> None:
    for file in small_corpus.glob("*.flac"):
        file.write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="3 of 3 clips"):
        corpus.load(str(small_corpus), CORPORA)


def test_bad_clips_are_left_out_where_that_is_wanted_and_said(small_corpus: Path) -> None:
    broken(small_corpus, "silent")
    with pytest.raises(CorpusError, match="next: nox -s bench-cpu -- --lx-skip-bad"):
        corpus.load(str(small_corpus), CORPORA)
    left = corpus.load(str(small_corpus), CORPORA, skip_bad=True)
    assert len(left.clips) == 2
    assert left.remarks[0].startswith("1 of 3 clips are bad and left out: metadata.jsonl:1: ")
    for file in small_corpus.glob("*.flac"):
        file.write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="3 of 3 clips"):
        corpus.load(str(small_corpus), CORPORA, skip_bad=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], r"metadata\.jsonl:4: not JSON"),
        (['{"text": "раз"}'], r"metadata\.jsonl:4: no 'file_name'"),
        (['{"file_name": "", "transcription": "раз"}'], r"metadata\.jsonl:4: no 'file_name'"),
        (
            ['{"file_name": "x.flac", "transcription": "раз", "offset": 1.5}'],
            r"metadata\.jsonl:4: x\.flac from second 1\.5 on: cut what is a part of a recording",
        ),
        (["[]"], r"metadata\.jsonl:4: not a JSON object"),
        (
            [json.dumps({"file_name": "A" * 300, "transcription": "раз"})],
            r"metadata\.jsonl:4: A+: .*File name too long",
        ),
        ([json.dumps({"file_name": "/", "transcription": "раз"})], r"metadata\.jsonl:4: no 'file_name'"),
        (
            [json.dumps({"file_name": "x.flac", "id": "\ud800", "transcription": "раз"})],
            r"metadata\.jsonl:4: \\ud800: 'utf-8' codec can't encode",
        ),
        (
            ['{"file_name": "x.flac", "transcription": "раз"}', '{"file_name": "./x.flac", "transcription": "два"}'],
            r"metadata\.jsonl:5: x: listed twice, first in metadata\.jsonl:4",
        ),
    ],
)
def test_a_bad_line_is_one_of_the_bad_clips(small_corpus: Path, lines: list[str], message: str) -> None:
    with (small_corpus / "metadata.jsonl").open("a", encoding="utf-8") as listing:
        listing.write("\n".join(lines))
    with pytest.raises(CorpusError, match=message):
        corpus.load(str(small_corpus), CORPORA)
    assert len(corpus.load(str(small_corpus), CORPORA, skip_bad=True).clips) == 3


def test_a_listing_in_another_encoding_is_refused_and_a_mark_is_not(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    wanted = corpus.load(str(small_corpus), CORPORA)
    listing.write_text(listing.read_text("utf-8"), "utf-8-sig")
    assert corpus.load(str(small_corpus), CORPORA) == wanted
    listing.write_bytes('{"file_name": "Привет"}'.encode("cp1251"))
    with pytest.raises(CorpusError, match="is not UTF-8"):
        corpus.load(str(small_corpus), CORPORA)


def test_a_long_recording_is_refused_unread(small_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(small_corpus / "day.flac", np.zeros(16_000 * 601, dtype="int16"), 16_000)
    with (small_corpus / "metadata.jsonl").open("a", encoding="utf-8") as listing:
        listing.write('{"file_name": "day.flac", "transcription": "раз"}\n')
    decode, read = audio.decode, list[str]()

    def watched(path: Path) -> Any:
        read.append(path.name)
        return decode(path)

    monkeypatch.setattr(audio, "decode", watched)
    with pytest.raises(CorpusError, match=r"day: 601\.0 s of audio, more than the 30 s of one window"):
        corpus.load(str(small_corpus), CORPORA)
    assert len(read) == 3


def test_where_no_clip_is_left_skipping_them_is_not_advised(small_corpus: Path) -> None:
    (small_corpus / "metadata.jsonl").write_text("[\n]\n")
    with pytest.raises(CorpusError) as raised:
        corpus.load(str(small_corpus), CORPORA, skip_bad=True)
    assert raised.value.command == "nox -s bench-cpu  # with the embedded corpus"


def test_a_listing_may_be_in_capitals_and_another_file_is_said_to_be_there(small_corpus: Path) -> None:
    wanted = corpus.load(str(small_corpus), CORPORA)
    capitals = (small_corpus / "metadata.jsonl").rename(small_corpus / "TEST.JSONL")
    assert corpus.load(str(capitals), CORPORA).clips == wanted.clips
    other = capitals.rename(small_corpus / "test.txt")
    with pytest.raises(CorpusError, match=r"test\.txt is no \.jsonl, \.json, \.csv, \.tsv or \.parquet"):
        corpus.load(str(other), CORPORA)


def test_audio_of_a_data_set_needs_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="audio of the corpus cannot be written to"):
        listing._keep(tmp_path / "file" / "audio" / "x.flac", b"x")


def test_commands_take_a_path_with_spaces(small_corpus: Path) -> None:
    folder = small_corpus.rename(small_corpus.with_name("my calls"))
    listing = folder / "metadata.jsonl"
    for content, command in (
        (b"\n", f"ls -l '{folder}'"),
        (
            "Привет".encode("cp1251"),
            f"iconv -f cp1251 -t utf-8 '{listing}' > '{folder}/metadata.utf8.jsonl'"
            "  # if it is in cp1251: look at what comes out",
        ),
        ("Привет".encode("utf-16"), f"iconv -f utf-16 -t utf-8 '{listing}' > '{folder}/metadata.utf8.jsonl'"),
        (b'{"my file": "x.flac"}', "nox -s bench-cpu -- --lx-columns 'audio=my file'  # with the same options"),
    ):
        listing.write_bytes(content)
        with pytest.raises(CorpusError) as raised:
            corpus.load(str(folder), CORPORA)
        assert raised.value.command == command


@pytest.mark.parametrize(("text", "language"), [("…!", "ru"), ("Uh.", "en"), ("[noise]", "en")])
def test_a_reference_without_words_is_a_bad_clip(small_corpus: Path, text: str, language: str) -> None:
    listing = small_corpus / "metadata.jsonl"
    rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    rows[1]["transcription"] = text
    listing.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    normalize = score.normalizer_for(language).apply
    told = f"metadata.jsonl:2: {Path(rows[1]['file_name']).stem}: nothing is left of its text after normalisation: "
    with pytest.raises(CorpusError, match=re.escape(f"{told}{text!r}")):
        corpus.load(str(small_corpus), CORPORA, normalize=normalize)
    assert len(corpus.load(str(small_corpus), CORPORA, normalize=normalize, skip_bad=True).clips) == 2


def test_a_missing_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus nowhere is not there: no nowhere"):
        corpus.load("nowhere", CORPORA)
    with pytest.raises(CorpusError, match=r"no metadata\.jsonl or metadata\.csv, parquet files or data set in"):
        corpus.load(str(tmp_path), CORPORA)


def test_a_corpus_without_clips_is_refused(small_corpus: Path) -> None:
    (small_corpus / "metadata.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="has no clips"):
        corpus.load(str(small_corpus), CORPORA)


def test_clips_in_folders_keep_apart(small_corpus: Path) -> None:
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    for name in ("a", "b"):
        (small_corpus / name).mkdir()
        shutil.copy(small_corpus / rows[0]["file_name"], small_corpus / name / "x.flac")
    lines = [json.dumps({"file_name": f"{name}/x.flac", "transcription": "раз"}) for name in ("a", "b")]
    (small_corpus / "metadata.jsonl").write_text("\n".join(lines))
    assert {clip.id for clip in corpus.load(str(small_corpus), CORPORA).clips} == {"a/x", "b/x"}


def add(folder: Path, *values: dict[str, Any]) -> Path:
    """Put values into the lines of the small corpus."""
    listing = folder / "metadata.jsonl"
    rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    lines = [json.dumps({**row, **added}) for row, added in zip(rows, values, strict=True)]
    listing.write_text("\n".join(lines), "utf-8")
    return listing


def test_an_id_that_several_files_have_is_not_theirs(small_corpus: Path) -> None:
    listing = add(small_corpus, {"id": "7"}, {"id": "7"}, {"id": "8"})
    stems = {path.stem for path in small_corpus.glob("*.flac")}
    assert {clip.id for clip in corpus.load(str(small_corpus), CORPORA).clips} == stems
    twice = r"1 of 3 .*\n.*metadata\.jsonl:2: 7: listed twice, first in metadata\.jsonl:1"
    with pytest.raises(CorpusError, match=twice):
        corpus.load(str(small_corpus), CORPORA, columns={"id": "id"})
    lines = listing.read_text("utf-8").splitlines()
    listing.write_text("\n".join([lines[0], lines[0], lines[2]]), "utf-8")
    with pytest.raises(CorpusError, match=twice):
        corpus.load(str(small_corpus), CORPORA)
    left = corpus.load(str(small_corpus), CORPORA, skip_bad=True)
    assert {clip.id for clip in left.clips} == {"7", "8"}


def test_the_beginning_of_a_recording_is_a_bad_clip(small_corpus: Path) -> None:
    """As NeMo lists segments; whole recordings have their duration too, and it may be rounded."""
    seconds = [clip.seconds for clip in corpus.load(str(small_corpus), CORPORA).clips]
    assert min(seconds) > 1.6
    add(
        small_corpus,
        {"offset": 0, "duration": 1.0},
        {"offset": 0.0, "duration": max(seconds) - 0.4},
        {"duration": None},
    )
    with pytest.raises(
        CorpusError, match=r"1 of 3 .*\n.*metadata\.jsonl:1: .*\.flac from second 0 on: cut what is a part"
    ):
        corpus.load(str(small_corpus), CORPORA)


def test_files_that_differ_by_their_suffix_are_told_apart_by_it(small_corpus: Path) -> None:
    first, second, third = sorted(small_corpus.glob("*.flac"))
    names = {first.name: "x.flac", second.name: "x.ogg", third.name: third.name}
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    for old, new in names.items():
        (small_corpus / old).rename(small_corpus / new)
    add(small_corpus, *({"file_name": names[row["file_name"]]} for row in rows))
    ids = {clip.id for clip in corpus.load(str(small_corpus), CORPORA).clips}
    assert ids == {"x.flac", "x.ogg", third.stem}


def test_recordings_to_calibrate_on_need_no_texts(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    names = [json.loads(line)["file_name"] for line in listing.read_text("utf-8").splitlines()]
    listing.write_text("".join(json.dumps({"file_name": name}) + "\n" for name in names), "utf-8")
    with pytest.raises(CorpusError, match="has no column for the text: it has file_name") as raised:
        corpus.load(str(small_corpus), CORPORA)
    assert "--lx-columns text=NAME" in str(raised.value)
    assert len(corpus.load(str(small_corpus), CORPORA, texts=False).clips) == 3


def test_no_recording_is_in_two_of_the_shipped_corpora() -> None:
    benchmark, *others = (corpus.load(name, CORPORA) for name in ("ivr-ru", "ivr-ru-calibration", "ivr-ru-selection"))
    for other in others:
        corpus.check_disjoint(other, benchmark)
        assert len(other.clips) == 24
    corpus.check_disjoint(*others)
    with pytest.raises(CorpusError, match="2 clips of the calibration corpus ivr-ru are in the benchmark corpus"):
        corpus.check_disjoint(benchmark.first(2), benchmark)


# --- other rates, other files ------------------------------------------------------------------------------


def test_other_rates_and_channels_are_resampled_and_said_once(small_corpus: Path) -> None:
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * 44_100) / 44_100, dtype=np.float32) / 2
    soundfile.write(small_corpus / rows[0]["file_name"], tone, 44_100)
    soundfile.write(small_corpus / rows[1]["file_name"], np.stack([tone, 0 * tone], 1), 44_100)
    loaded = corpus.load(str(small_corpus), CORPORA)
    assert loaded.remarks == (
        "2 clips are resampled to 16 kHz mono: 1 of 44100 Hz, 1 channel, 1 of 44100 Hz, 2 channels",
    )
    heard = {clip.path.name: read_audio(clip.path) for clip in loaded.clips}
    wanted = np.sin(2 * np.pi * 1_000 * np.arange(2 * 16_000) / 16_000) / 2
    for row, share in ((rows[0], 1), (rows[1], 0.5)):
        inner = slice(400, -400)  # A filter needs something on both sides.
        assert heard[row["file_name"]].shape == wanted.shape
        assert heard[row["file_name"]][inner] == pytest.approx(share * wanted[inner], abs=2e-3)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_is_too_high_for_16_khz_does_not_come_back_as_something_lower(rate: int) -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(rate) / rate).astype(np.float32)
    assert np.abs(resample(tone, rate)[2_000:-2_000]).max() < 1e-5, "an alias of 7 kHz: an s where none was said"


def test_what_a_telephone_lets_through_is_as_loud_at_16_khz() -> None:
    tone = np.sin(2 * np.pi * 3_500 * np.arange(8_000) / 8_000).astype(np.float32)
    heard = resample(tone, 8_000)[2_000:-2_000]
    assert float(heard.std()) == pytest.approx(float(tone.std()), rel=1e-3)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("ogg", "VORBIS"), ("opus", "OPUS"), ("mp3", None)])
def test_formats_that_people_have_are_read(small_corpus: Path, suffix: str, subtype: str | None) -> None:
    listing = small_corpus / "metadata.jsonl"
    rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    speech = [read_audio(small_corpus / row["file_name"]) for row in rows]
    for row, samples in zip(rows, speech, strict=True):
        row["file_name"] = str(Path(row["file_name"]).with_suffix(f".{suffix}"))
        kind = "OGG" if suffix == "opus" else None
        soundfile.write(small_corpus / row["file_name"], samples, 16_000, subtype=subtype, format=kind)
    listing.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    loaded = corpus.load(str(small_corpus), CORPORA)
    seconds = {Path(row["file_name"]).stem: len(samples) / 16_000 for row, samples in zip(rows, speech, strict=True)}
    for clip in loaded.clips:
        assert clip.seconds == pytest.approx(seconds[clip.id], abs=0.2)


# --- names of columns, tables, data sets -------------------------------------------------------------------


def told(rows: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    return [{"wav": str(folder / row["file_name"]), "said": row["transcription"]} for row in rows]


def test_names_of_columns_are_found_or_given(small_corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    texts = {row["transcription"] for row in rows}
    manifest = tmp_path / "test.tsv"
    lines = [f"{small_corpus / row['file_name']}\t{row['transcription']}" for row in rows]
    manifest.write_text("\n".join(["path\tsentence", *lines]), "utf-8")  # Common Voice's
    assert {clip.text for clip in corpus.load(str(manifest), CORPORA).clips} == texts
    manifest = tmp_path / "test.jsonl"
    manifest.write_text("\n".join(map(json.dumps, told(rows, small_corpus))), "utf-8")
    loaded = corpus.load(str(manifest), CORPORA, columns={"text": "said"})
    assert {clip.text for clip in loaded.clips} == texts
    with pytest.raises(CorpusError, match=r"test.jsonl has no column for the text: it has wav, said") as raised:
        corpus.load(str(manifest), CORPORA)
    assert str(raised.value).endswith("--lx-columns text=said  # with the same options")
    assert len(corpus.load(str(manifest), CORPORA, texts=False).clips) == 3
    with pytest.raises(CorpusError, match="has no column for the text: it has wav, said"):
        corpus.load(str(manifest), CORPORA, columns={"text": "nothing"})


def test_a_text_that_is_empty_is_not_taken_from_another_column(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    first, *others = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    emptied = {"file_name": first["file_name"], "transcription": "", "text": "what a machine once heard"}
    listing.write_text("\n".join(map(json.dumps, [emptied, *others])), "utf-8")
    with pytest.raises(CorpusError, match=r"metadata.jsonl:1: .*empty reference text"):
        corpus.load(str(small_corpus), CORPORA, columns={"text": ("transcription", "text")})
    with pytest.raises(CorpusError, match=r"empty reference text"):
        corpus.load(str(small_corpus), CORPORA)
    del emptied["transcription"]
    listing.write_text("\n".join(map(json.dumps, [emptied, *others])), "utf-8")
    with pytest.raises(CorpusError, match=rf"metadata.jsonl:1: {first['file_name']} has no 'transcription'"):
        corpus.load(str(small_corpus), CORPORA)


def test_a_column_without_a_name_is_no_text(small_corpus: Path, tmp_path: Path) -> None:
    names = [
        json.loads(line)["file_name"] for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()
    ]
    listing = tmp_path / "of_pandas.csv"
    listing.write_text("\n".join([",path", *(f"{n},{small_corpus / name}" for n, name in enumerate(names))]), "utf-8")
    assert {clip.text for clip in corpus.load(str(listing), CORPORA, texts=False).clips} == {""}


def test_whole_paths_in_a_listing_are_no_ids(small_corpus: Path, tmp_path: Path) -> None:
    """NeMo's tools write them, and the folder is elsewhere on another machine."""
    wanted = corpus.load(str(small_corpus), CORPORA)
    listing = small_corpus / "metadata.jsonl"
    rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    whole = [{**row, "file_name": str(small_corpus / row["file_name"])} for row in rows]
    listing.write_text("\n".join(map(json.dumps, whole)), "utf-8")
    loaded = corpus.load(str(small_corpus), CORPORA)
    assert same_clips(loaded, wanted)
    assert loaded.remarks == wanted.remarks
    (tmp_path / "link").symlink_to(small_corpus)
    assert same_clips(corpus.load(str(tmp_path / "link"), CORPORA), wanted)
    through_links = [{**row, "file_name": str(tmp_path / "link" / row["file_name"])} for row in rows]
    listing.write_text("\n".join(map(json.dumps, through_links)), "utf-8")
    assert same_clips(corpus.load(str(small_corpus), CORPORA), wanted)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded = corpus.load(str(listing.rename(elsewhere / "metadata.jsonl")), CORPORA)
    assert "3 clips are called by paths of this machine, such as /" in loaded.remarks[0]


def test_a_link_is_called_as_people_call_it(small_corpus: Path) -> None:
    link = small_corpus.with_name("golos")
    link.symlink_to(small_corpus)
    assert corpus.load(str(link), CORPORA).name == "golos"
    assert corpus.load(str(small_corpus / ".." / "golos"), CORPORA).name == "golos"


@pytest.fixture
def rows(small_corpus: Path) -> Any:
    """The small corpus as a data set whose audio is in the rows, encoded."""
    import datasets

    listed = [json.loads(line) for line in (small_corpus / "metadata.jsonl").read_text("utf-8").splitlines()]
    names = [row["file_name"] for row in listed]
    values = {
        "audio": [
            {"bytes": (small_corpus / row["file_name"]).read_bytes(), "path": row["file_name"]} for row in listed
        ],
        "transcription": [row["transcription"] for row in listed],
        "id": [Path(name).stem for name in names],
    }
    plain = datasets.Dataset.from_dict(values)
    return plain.cast_column("audio", datasets.Audio(decode=False))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lxbench" / "audio"


def same_clips(loaded: corpus.Corpus, wanted: corpus.Corpus) -> bool:
    return [(one.id, one.text, one.audio) for one in loaded.clips] == [
        (one.id, one.text, one.audio) for one in wanted.clips
    ]


def test_corpora_whose_files_all_have_one_name_are_called_by_their_folders(small_corpus: Path) -> None:
    listing = small_corpus / "metadata.jsonl"
    for name, called in (
        ("manifest.jsonl", "small"),
        ("Manifest.json", "small"),
        ("metadata.jsonl", "small"),
        ("test_manifest.jsonl", "test_manifest"),
    ):
        assert corpus.load(str(listing.rename(listing.with_name(name))), CORPORA).name == called, name
        listing = listing.with_name(name)


def test_a_data_set_saved_to_disk_is_read(small_corpus: Path, rows: Any, tmp_path: Path, cache: Path) -> None:
    import datasets

    wanted = corpus.load(str(small_corpus), CORPORA)
    rows.save_to_disk(tmp_path / "one")
    loaded = corpus.load(str(tmp_path / "one"), CORPORA)
    assert same_clips(loaded, wanted)
    assert loaded.name == "one"
    assert len(list(cache.glob("*.flac"))) == 3
    datasets.DatasetDict({"train": rows.select([0]), "test": rows}).save_to_disk(tmp_path / "two")
    loaded = corpus.load(f"{tmp_path / 'two'}:test", CORPORA)
    assert same_clips(loaded, wanted)
    assert loaded.name == "two-test"
    with pytest.raises(CorpusError, match=r"two has 2 splits(.|\n)*one of .*two:train, .*two:test"):
        corpus.load(str(tmp_path / "two"), CORPORA)
    with pytest.raises(CorpusError, match=r"two has no split 'dev'"):
        corpus.load(f"{tmp_path / 'two'}:dev", CORPORA)


@pytest.mark.usefixtures("cache")
def test_parquet_with_the_bytes_of_the_audio_is_read(small_corpus: Path, rows: Any, tmp_path: Path) -> None:
    wanted = corpus.load(str(small_corpus), CORPORA)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet")
    rows.select([0]).to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    assert same_clips(corpus.load(f"{tmp_path / 'hub'}:test", CORPORA), wanted)
    assert same_clips(corpus.load(str(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet"), CORPORA), wanted)
    bare = tmp_path / "bare.parquet"
    rows.remove_columns(["audio"]).to_parquet(bare)
    with pytest.raises(CorpusError, match="has no column for the audio: it has transcription, id"):
        corpus.load(str(bare), CORPORA)


@pytest.mark.usefixtures("cache")
def test_an_id_that_several_files_of_a_data_set_have_is_not_theirs(rows: Any, tmp_path: Path) -> None:
    import datasets

    def saved(name: str, values: dict[str, Any]) -> str:
        datasets.Dataset.from_dict(values).save_to_disk(tmp_path / name)
        return str(tmp_path / name)

    values = {**rows.to_dict(), "id": [7, 7, 8]}
    sentences = saved("sentences", values)
    assert {clip.id for clip in corpus.load(sentences, CORPORA).clips} == {"000000", "000001", "000002"}
    with pytest.raises(CorpusError, match="row 1: 7: listed twice, first in "):
        corpus.load(sentences, CORPORA, columns={"id": "id"})
    values["audio"] = [values["audio"][0]] * 2 + values["audio"][2:]
    with pytest.raises(CorpusError, match="row 1: 7: listed twice, first in "):
        corpus.load(saved("twice", values), CORPORA)
    values["audio"] = [{**audio, "path": None} for audio in values["audio"]]
    with pytest.raises(CorpusError, match="row 1: 7: listed twice, first in "):
        corpus.load(saved("nameless", values), CORPORA)


@pytest.mark.usefixtures("cache")
def test_a_row_without_audio_is_a_bad_clip(rows: Any, tmp_path: Path) -> None:
    import datasets

    values = rows.to_dict()
    values["audio"][1] = {"bytes": None, "path": None}
    holed = datasets.Dataset.from_dict(values)
    holed.save_to_disk(tmp_path / "holed")
    with pytest.raises(CorpusError, match=r"row 1: .*column 'audio' has neither a path nor encoded audio"):
        corpus.load(str(tmp_path / "holed"), CORPORA)
    assert len(corpus.load(str(tmp_path / "holed"), CORPORA, skip_bad=True).clips) == 2


def test_a_data_set_of_the_hub_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(CorpusError, match=r"corpus no-one/nothing:test \(no file or folder here\) could not be read: "):
        corpus.load("no-one/nothing:test", CORPORA)


def test_memory_stays_flat_however_many_clips_there_are(small_corpus: Path) -> None:
    def peak(count: int) -> int:
        listing = small_corpus / "metadata.jsonl"
        lines = []
        for number in range(count):
            (small_corpus / f"{number}.flac").unlink(missing_ok=True)
            (small_corpus / f"{number}.flac").symlink_to(sources[number % len(sources)])
            lines.append(json.dumps({"file_name": f"{number}.flac", "transcription": "раз"}))
        listing.write_text("\n".join(lines), "utf-8")
        tracemalloc.start()
        assert len(corpus.load(str(small_corpus), CORPORA).clips) == count
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    sources = sorted(small_corpus.glob("*.flac"))
    few, many = peak(10), peak(500)
    audio = sum(read_audio(file).nbytes for file in sources) * 500 / len(sources)
    assert many - few < 4 * 2**20 < audio / 10


@pytest.mark.usefixtures("cache")
def test_a_data_set_of_the_hub_is_read_from_its_cache(
    small_corpus: Path, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the library leaves a data set there when it was loaded with a network: the arrow files of each split."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    wanted = corpus.load(str(small_corpus), CORPORA)
    for split in ("train", "test"):
        rows.to_parquet(tmp_path / "speech" / f"{split}-00000-of-00001.parquet")
    datasets.load_dataset(str(tmp_path / "speech"), cache_dir=str(tmp_path / "hub"))
    (prepared,) = (path.parent for path in (tmp_path / "hub" / "speech").rglob("dataset_info.json"))
    cached = tmp_path / "hub" / "someone___speech" / "default" / "0.0.0" / ("0" * 40)
    cached.parent.mkdir(parents=True)
    prepared.rename(cached)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for spec in ("someone/speech:test", "someone/speech:default:test"):
        loaded = corpus.load(spec, CORPORA)
        assert same_clips(loaded, wanted)
        assert loaded.name == re.sub("[/:]", "-", spec)
    with pytest.raises(CorpusError, match="corpus someone/speech has 2 splits"):
        corpus.load("someone/speech", CORPORA)


def test_calibration_clips_may_go_by_the_usual_names_or_by_those_of_the_corpus(tmp_path: Path) -> None:
    clip = CORPORA / "ivr-ru" / "agent-loginok.flac"
    (tmp_path / "said.csv").write_text(f"recording,said\n{clip},текст\n", "utf-8")
    chosen = Settings("cpu", corpus=str(tmp_path / "said.csv"), columns={"audio": "recording", "text": "said"})
    for name, header in (("own", "recording"), ("usual", "file_name")):
        other = tmp_path / f"{name}.csv"
        other.write_text(f"{header}\n{CORPORA / 'ivr-ru' / 'vm-nonumber.flac'}\n", "utf-8")
        heard, observed = planning.clips(replace(chosen, calibration=str(other)), lambda *_: None)
        assert [each.text for each in heard.clips] == ["текст"]
        assert len(observed.clips) == 1
    other.write_text("sound\nx\n", "utf-8")
    with pytest.raises(CorpusError, match=r"usual\.csv has no column for the audio: it has sound"):
        planning.clips(replace(chosen, calibration=str(other)), lambda *_: None)


def test_a_hub_id_is_called_by_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    assert corpus._name("alice/asr-test", Path("alice/asr-test")) == "alice-asr-test"
    assert corpus._name("bob/asr-test:ru:test", Path("bob/asr-test:ru:test")) == "bob-asr-test-ru-test"
    split = f"{tmp_path / 'calls'}:test"
    assert corpus._name(split, Path(split)) == "calls-test"
