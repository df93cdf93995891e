"""Which concepts are chosen and how their table is written, against slow twins."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from shards.concepts import KINDS, WORD, choose_concepts, write_concept_table

Rows = list[tuple[str, str, int]]


def table_of(rows: Rows) -> pa.Table:
    texts, kinds, counts = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(texts, pa.string()), pa.array(kinds, pa.string()), pa.array(counts, pa.int64())]
    return pa.table(arrays, names=["text", "kind", "count"])


def slow_choice(rows: Rows, least: int) -> Rows:
    """Text by text: its captions are counted, and of its kinds the one that most captions say is taken."""
    found: dict[str, dict[str, int]] = {}
    for text, kind, count in rows:
        found.setdefault(text, {})[kind] = count
    return [
        (text, WORD if WORD in kinds else max(kinds, key=lambda kind: (kinds[kind], kind)), sum(kinds.values()))
        for text, kinds in found.items()
        if WORD in kinds or sum(kinds.values()) >= least
    ]


@given(
    counted=st.dictionaries(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(KINDS)), st.integers(1, 4)),
    least=st.integers(1, 6),
)
def test_the_chosen_are_those_of_the_slow_way(counted: dict[tuple[str, str], int], least: int) -> None:
    rows = [(text, kind, count) for (text, kind), count in counted.items()]
    chosen = choose_concepts(table_of(rows), least)
    columns = (chosen[name].to_pylist() for name in ("text", "kind", "count"))
    assert list(zip(*columns, strict=True)) == slow_choice(rows, least)


def test_a_table_has_a_row_for_every_word_whether_chosen_or_not(tmp_path: Path) -> None:
    chosen = table_of([("dog", "noun", 3), ("red dog", "phrase", 1), ("new", "noun", 2)])
    write_concept_table(tmp_path / "concepts.parquet", pa.array(["red dog", "gone", "dog", "new"]), chosen)
    written = pq.read_table(tmp_path / "concepts.parquet")
    assert written["kind"].to_pylist() == ["phrase", "", "noun", "noun"]
    assert written["count"].to_pylist() == [1, 0, 3, 2]
