"""Words of the command line that verbs share: choices with few values, arguments, options."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dse.errors import nearest
from dse.studies.exits import guarded

FORMATS = ("table", "csv", "json")
ACCOUNTINGS = ("physical", "paper")
LEVELS = ("events", "counts", "values")
WIDTHS = ("column", "page")
LISTS = (
    "machines",
    "memories",
    "workloads",
    "models",
    "cascades",
    "traces",
    "kernels",
    "mappers",
    "mappings",
    "spaces",
    "sweeps",
    "studies",
    "suites",
    "tables",
)
SCHEMAS = (
    "machine",
    "memory",
    "workload",
    "model",
    "cascade",
    "mapping",
    "space",
    "kernel",
    "sweep",
    "study",
    "suite",
    "table",
    "sram",
    "technology",
    "passage",
    "laws",
    "calibration",
)


def call_verb(name: str, **values: object) -> None:
    """Call ``dse.studies.verbs.<name>.<name>`` and exit with the code it returns, 0 for None."""

    def call() -> int:
        module = importlib.import_module(f"dse.studies.verbs.{name}")
        code = getattr(module, name)(**values)
        sys.stdout.flush()
        return code or 0

    raise typer.Exit(guarded(call))


def examples(*lines: str) -> str:
    """Epilogue of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  dse {line}" for line in lines)])


def one_of(choices: tuple[str, ...], metavar: str = "") -> dict[str, Any]:
    """Settings of an argument or option with few values: checked, completed, shown in the help."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"'{value}' is not one of {', '.join(choices)}{nearest(value, choices)}")
        return value

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return {"callback": check, "autocompletion": complete, "metavar": metavar or f"[{'|'.join(choices)}]"}


MachineArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="A shipped machine, or a path.")]
WorkloadArgument = Annotated[
    str, typer.Argument(metavar="WORKLOAD", help="A shipped model, cascade or trace, or a path.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="A parameter of the workload; repeatable."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--machine-value",
        metavar="KEY=VALUE",
        help="A value of the machine file to replace; repeatable.",
    ),
]
Accounting = Annotated[str, typer.Option(help="Conventions to count by.", **one_of(ACCOUNTINGS))]
Mapper = Annotated[str, typer.Option(metavar="NAME", help="How to choose a mapping.")]
MappingName = Annotated[
    str | None,
    typer.Option("--mapping", metavar="NAME", help="A shipped mapping, or a path; else the machine's own."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="A choice among the mapping's options; repeatable."),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Also write the result: .csv, .json or .parquet."),
]
Format = Annotated[str, typer.Option("--format", help="Form of the output.", **one_of(FORMATS))]
