"""The benchmarks run, on a checkpoint so small that their figures mean nothing."""

import json
from contextlib import closing

import pytest

from benchmarks import mixed_adapters, stored_adapters
from benchmarks.measures import Measure, percentile, show
from benchmarks.mixed_adapters import decode_ratios
from benchmarks.profile_to_adapter import through_python
from benchmarks.profiles import profile
from hypernet.generators import Generator, load
from hypernet.storage.s3 import S3Objects
from tests.miniature import NAME, write_checkpoint
from tests.s3_server import running_server


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Generator:
    root = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(root)
    return load(NAME, root=root)


def test_profiles_are_distinct_and_of_the_length_asked_for(generator):
    texts = [profile(generator, number, tokens=300) for number in range(5)]

    assert len(set(texts)) == 5
    assert all(220 < len(generator.base.render_document(text)) <= 300 for text in texts)


def test_profile_to_adapter_is_measured_by_stage(generator):
    names = {measure.name for measure in through_python(generator, tokens=300, repeats=2)}

    stages = ("encode", "generate", "serialise", "store", "profile_to_adapter")
    assert names == {f"python.{stage}.{share}" for stage in stages for share in ("p50", "p95")}


def test_decoding_is_measured_against_the_bare_model_and_peft(generator, monkeypatch, tmp_path):
    write_checkpoint(tmp_path)
    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(mixed_adapters, "BATCHES", (1, 3))
    monkeypatch.setattr(mixed_adapters, "ANSWER_TOKENS", 4)

    measures = list(decode_ratios(generator, rounds=1))

    assert len(measures) == 10
    assert all(measure.value > 0 for measure in measures)


def test_percentiles_lie_between_neighbours():
    values = [float(value) for value in range(101)]

    assert (percentile(values, 0.5), percentile(values, 0.95)) == (pytest.approx(50), pytest.approx(95))
    assert percentile([7.0], 0.95) == 7.0


def test_show_ends_in_one_line_of_json_with_the_bars_above_it(capsys):
    show([Measure(name="fast", value=1.23456, unit="ms", bar=2), Measure(name="slow", value=3.0, unit="ms", bar=2)])

    *table, last = capsys.readouterr().out.strip().splitlines()
    assert json.loads(last) == {
        "measures": [{"name": "fast", "value": 1.2346, "unit": "ms"}, {"name": "slow", "value": 3.0, "unit": "ms"}]
    }
    assert any("at most 2" in line for line in table)
    assert any("over 2" in line for line in table)


def test_benchmarks_of_a_store_page_through_all_users_and_seal():
    found = [*stored_adapters.listing(users=250, page=100), *stored_adapters.sealing(repeats=2)]
    assert {measure.name for measure in found} >= {"listing.250.ratio", "sealing.10MB.seal.p50"}
    assert all(measure.value > 0 for measure in found)


def test_benchmarks_of_a_store_on_a_server_give_a_ratio_for_each_route(tmp_path):
    with running_server(tmp_path) as server:
        with closing(S3Objects(server)) as bucket:
            bucket.make_bucket()
        found = list(
            stored_adapters.against_the_bare_client(
                server, size="100KB", label="warm", rounds=1, operations=24, cache_bytes=1 << 20, users=8
            )
        )
    ratios = [measure for measure in found if measure.name.startswith("ratio.")]
    assert [measure.bar for measure in ratios] == [1.5, 1.5, 1.15, 1.15, None]
    assert all(measure.value > 0 for measure in found)
