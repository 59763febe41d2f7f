"""Command of ``dse`` that searches designs."""

from pathlib import Path
from typing import Annotated

import typer

from dse.studies.options import Changes, Format, Parameters, call_verb, examples, one_of

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database of the trials, such as postgresql://host/name; SQLite in FOLDER if left out.",
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="METRIC<=NUMBER", help="A bound in SI units; repeatable."),
]
SAMPLERS = ("nsga2", "nsga3", "tpe", "random")


def codesign(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A machine or sweep: a shipped name, or a path.")
    ],
    objective: Annotated[
        str,
        typer.Option(metavar="METRIC,...", help="What to minimise: latency_s, energy_j, area_m2, edp, ..."),
    ] = "latency_s,energy_j,area_m2",
    limits: Limits = None,
    iso: Annotated[
        list[str] | None,
        typer.Option("--iso", metavar="area|bandwidth", help="No more than the baseline has; repeatable."),
    ] = None,
    sampler: Annotated[str, typer.Option(help="What proposes designs.", **one_of(SAMPLERS))] = "nsga2",
    budget: Annotated[int, typer.Option(metavar="N", min=1, help="Different designs to try.")] = 1000,
    population: Annotated[int, typer.Option(metavar="N", min=2, help="Designs of one batch.")] = 50,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the proposals.")] = 0,
    storage: Storage = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write; results/<name>_codesign if left out."),
    ] = None,
    changes: Changes = None,
    parameters: Parameters = None,
    form: Format = "table",
) -> None:
    """Search designs for several objectives; a second call goes on."""
    call_verb(
        "codesign",
        file=file,
        objective=objective,
        limits=list(limits or ()),
        iso=list(iso or ()),
        sampler=sampler,
        budget=budget,
        population=population,
        seed=seed,
        storage=storage,
        out=out,
        format=form,
        changes=list(changes or ()),
        parameters=list(parameters or ()),
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "codesign fusemax_codesign --iso area --budget 500",
            "codesign my.yaml --objective edp,area_m2 --limit 'area_m2<=1e-4'",
        )
    )(codesign)
