"""The report page: well formed, whole, and nothing in it that somebody else's words could break."""

import xml.etree.ElementTree as ElementTree

import pytest

from training.evaluation.measures import ARMS, Evaluation, Measure
from training.evaluation.numbers import of_prompt, shown
from training.evaluation.report import write_report

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def measure(name, arm="adapter", value=0.5):
    return Measure(name=name, arm=arm, value=value, count=40, low=value - 0.1, high=value + 0.1)


def evaluation(*names, suite="profiles", checkpoint="tiny", arms=ARMS, notes=()):
    measures = tuple(measure(name, arm, 0.1 + 0.15 * place) for name in names for place, arm in enumerate(arms))
    return Evaluation(suite=suite, checkpoint=checkpoint, measures=measures, notes=notes)


@pytest.fixture
def read(tmp_path):
    def written(*results):
        return ElementTree.parse(write_report(results, tmp_path / "report")).getroot()  # noqa: S314  (our own page)

    return written


def words(element):
    return "".join(element.itertext())


PROFILES = evaluation("exact", "exact/tokens/100", "exact/tokens/200", "exact/attribute/home", "exact/attribute/pet")


def test_page_holds_every_measure_with_value_interval_and_count(read):
    table = next(read(PROFILES).iter(f"{XHTML}table"))
    rows = {row[0].text: words(row) for row in table.iter(f"{XHTML}tr")}
    for name in PROFILES.names:
        for arm in ARMS:
            figure = PROFILES.measure(name, arm)
            assert f"{shown(figure.value)}{shown(figure.low)} to {shown(figure.high)}" in rows[name]
        assert rows[name].endswith("40" + of_prompt(PROFILES, name))


def test_page_plots_length_attributes_and_time(read):
    frontier = Evaluation(
        suite="frontier",
        checkpoint="tiny",
        measures=tuple(
            measure(name, value=value)
            for name, value in (
                ("exact/generated", 0.9), ("time_s/generated", 0.2), ("exact/distillation-25", 0.5),
                ("time_s/distillation-25", 30.0),
            )
        ),
    )  # fmt: skip
    needle = evaluation("exact/1x", "exact/2x", "exact/8x", "exact/window-4x", suite="needle")
    labels = [svg.get("aria-label") for svg in read(PROFILES, needle, frontier).iter(f"{SVG}svg")]
    assert sum("length" in label for label in labels) == 2
    assert sum("attribute" in label for label in labels) == 1
    assert sum("time" in label for label in labels) == 1


def test_checkpoints_stand_side_by_side(read):
    page = read(evaluation("exact"), evaluation("exact", "manner", checkpoint="tiny/mlp"))
    first = next(page.iter(f"{XHTML}table"))
    assert [cell.text for cell in first.iter(f"{XHTML}th")] == ["measure", "tiny", "tiny/mlp", "exact", "manner"]


def test_foreign_names_are_text(read):
    page = read(evaluation("exact/<script>alert(1)</script>", checkpoint="<b>&", notes=("<i>note</i> & more",)))
    assert not list(page.iter(f"{XHTML}script"))
    assert not list(page.iter(f"{XHTML}b"))
    assert "<i>note</i> & more" in words(page)


def test_page_asks_nothing_of_the_network(tmp_path):
    text = write_report([PROFILES], tmp_path).read_text(encoding="utf-8")
    addresses = {part.split('"')[0] for part in text.split('"http')[1:]}
    assert addresses <= {"://www.w3.org/1999/xhtml", "://www.w3.org/2000/svg"}  # names, not links
    assert "<link" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_later_report_replaces_the_earlier_one(tmp_path):
    write_report([evaluation("exact")], tmp_path)
    path = write_report([evaluation("exact", "manner")], tmp_path)
    assert ">manner<" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.9812, "0.981"), (12.36, "12.4"), (1310.4, "1,310"), (-0.25, "-0.250"), (1.3e-5, "1.3e-05")],
)
def test_figures_are_shown_to_three_digits(value, text):
    assert shown(value) == text
