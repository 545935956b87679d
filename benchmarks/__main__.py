"""`python -m benchmarks`: every measurement, a table with the bars, and one last line of JSON."""

import argparse
import os

from rich.console import Console

from benchmarks.measures import Measure, show


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--checkpoint", default="tiny", help="checkpoint to measure (default: tiny)")
    parser.add_argument("--tokens", type=int, default=300, help="length of a profile in tokens (default: 300)")
    parser.add_argument("--repeats", type=int, default=50, help="profiles for each route (default: 50)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds of the decode arms (default: 15)")
    parser.add_argument("--skip-rest", action="store_true", help="leave out what needs the whole service")
    options = parser.parse_args()

    # Model loading draws progress bars otherwise; set before transformers is imported.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ["HYPERNET_CHECKPOINT"] = options.checkpoint
    import hypernet
    from benchmarks.mixed_adapters import decode_ratios
    from benchmarks.profile_to_adapter import through_python, through_rest
    from benchmarks.stored_adapters import measured as stored_adapters
    from benchmarks.stored_adapters import server_is_at_hand

    console = Console(stderr=True)
    generator = hypernet.load(options.checkpoint)
    measures: list[Measure] = []
    with console.status("profile to adapter, in Python"):
        measures += through_python(generator, tokens=options.tokens, repeats=options.repeats)
    if not options.skip_rest:
        with console.status("profile to adapter, over REST"):
            measures += through_rest(generator, tokens=options.tokens, repeats=options.repeats)
    with console.status("decoding with many adapters"):
        measures += decode_ratios(generator, rounds=options.rounds)
    if not server_is_at_hand():
        console.print(
            "no S3 server: apt-get install ceph-mon ceph-osd radosgw, or HYPERNET_TEST_S3_URL; store left out"
        )
    else:
        with console.status("a store in a bucket"):
            measures += stored_adapters(rounds=2, operations=400)
    show(measures)


if __name__ == "__main__":
    main()
