"""`python -m bench [PART …] --benchmark DIR --out DIR`."""

import importlib
import sys
import time
from pathlib import Path

import click

from bench.output import Part, Settings, quote
from governance.errors import GovernanceError

PARTS = (
    "methods",
    "leakage",
    "ablations",
    "split-half",
    "open-vocabulary",
    "capacity",
    "baselines",
    "real",
    "versions",
    "serving",
    "scaling",
    "ledger",
    "scale",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PART]...")
@click.option(
    "--benchmark",
    type=click.Path(path_type=Path),
    envvar="GOVERNANCE_BENCHMARK",
    help="Directory of the shared benchmark (GOVERNANCE_BENCHMARK).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/bench"),
    show_default=True,
    help="Where JSON, Markdown and plots go.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path("build/bench-cache"),
    show_default=True,
    help="Synthesised prototypes, kept between runs.",
)
@click.option("--quick", is_flag=True, help="As little as shows that everything works.")
@click.option("--steps", type=int, help="Gradient steps of a synthesised image.")
@click.option(
    "--synthesised/--no-synthesised",
    default=True,
    show_default=True,
    help="Synthesise prototypes with the benchmark's model (slow the first time).",
)
@click.option(
    "--document",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Put the tables between the marks of this document.",
)
def main(
    parts: tuple[str, ...],
    benchmark: Path | None,
    out: Path,
    cache: Path,
    quick: bool,
    steps: int | None,
    synthesised: bool,
    document: Path | None,
) -> None:
    """Measure, and write NAME.json, NAME.md and plots for each PART (default: all)."""
    out.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    settings = Settings(benchmark, out, cache, quick, steps, synthesised)
    left_out = 0
    for name in parts or PARTS:
        part: Part = importlib.import_module(f"bench.{name.replace('-', '_')}").run
        began = time.perf_counter()
        try:
            section = part(settings)
        except GovernanceError as error:
            click.echo(f"{name}: left out: {error}", err=True)
            left_out += 1
            continue
        section.write(out)
        if document is not None:
            for name_of_table in quote(document, section, out):
                click.echo(f"{document}: not quoted: {name_of_table}", err=True)
        click.echo(f"{name}: {out / name}.md, {time.perf_counter() - began:.0f} s")
    sys.exit(1 if left_out and parts else 0)


if __name__ == "__main__":
    main()
