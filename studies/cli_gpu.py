"""Commands of ``dse`` that run kernels, or hold simulated times against measured ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dse.studies.options import LEVELS, Format, MachineArgument, Output, call_verb, examples, one_of


def trace(
    kernel: Annotated[str, typer.Argument(metavar="KERNEL", help="A shipped kernel.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The trace to write: .parquet.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="A parameter of the kernel; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random inputs.")] = 0,
    level: Annotated[str, typer.Option(help="What to keep of each program.", **one_of(LEVELS))] = "events",
    bits: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=16, help="Bits of the scores kept with level values."),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Run a few programs, verify that the rest follows; level counts.")
    ] = False,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="TARGET", help="Compile for sm_80, sm_90 ...; repeatable."),
    ] = None,
) -> None:
    """Run a Triton kernel, record it, check it against its cascade."""
    call_verb(
        "trace",
        kernel=kernel,
        parameters=list(parameters or ()),
        output=output,
        seed=seed,
        level="counts" if sample else level,
        bits=bits,
        sample=sample,
        targets=list(targets or ()),
    )


def measure(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A shipped suite, or a path.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The table to write, or to go on with: .csv."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be measured.")] = False,
    resolved: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the suite for a machine without dse, and stop."),
    ] = None,
    interpret: Annotated[
        bool, typer.Option("--interpret", help="Only compare kernels with their references, without a GPU.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="Start nothing new after this time.")
    ] = None,
    form: Format = "table",
) -> None:
    """Time a suite of kernels on this machine's GPU."""
    call_verb(
        "measure",
        suite=suite,
        output=output,
        dry_run=dry_run,
        resolved=resolved,
        interpret=interpret,
        seconds=seconds,
        format=form,
    )


Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", metavar="RULE", help="Rows to take: column=value, column>=number ...; repeatable."
    ),
]


def calibrate(
    machine: MachineArgument,
    tables: Annotated[
        list[str], typer.Argument(metavar="TABLE...", help="Measured tables: shipped names, or paths.")
    ],
    rows: Annotated[str, typer.Option(metavar="SPLIT", help="The split to fit on, as the table names it.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The calibration to write: .yaml.")
    ],
    constants: Annotated[
        list[str] | None,
        typer.Option(
            "--constant", metavar="NAME", help="A constant to fit, 'overlap' or 'decode.overlap'; repeatable."
        ),
    ] = None,
    filters: Filters = None,
) -> None:
    """Fit a GPU's constants to measured latencies."""
    call_verb(
        "calibrate",
        machine=machine,
        tables=list(tables),
        rows=rows,
        output=output,
        constants=list(constants or ()),
        filters=list(filters or ()),
    )


def compare(
    machine: MachineArgument,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A measured table: a shipped name, or a path.")
    ],
    calibration: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A calibration's name or path, or none; else the table's or own."),
    ] = None,
    filters: Filters = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", min=0, help="Exit with 1 if a class has a larger mean error."),
    ] = None,
    output: Output = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write all rows, scatter and residual plots.")
    ] = None,
    form: Format = "table",
    trace_seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0,
            help="Time to trace a kernel whose launches have no closed form; 0: kept traces only.",
        ),
    ] = 120.0,
) -> None:
    """Simulated against measured latencies, class by class."""
    call_verb(
        "compare",
        machine=machine,
        table=table,
        calibration=calibration,
        filters=list(filters or ()),
        tolerance=tolerance,
        output=output,
        out=out,
        format=form,
        trace_seconds=trace_seconds,
    )


COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    trace: ("trace flash_forward -p sequence=512 -p causal=true -o flash.parquet",),
    measure: (
        "measure standard --dry-run",
        "measure standard -o measured.csv",
        "measure check --interpret -o check.csv",
    ),
    calibrate: (
        "calibrate h200 attn_prefill_causal_bf16 attn_decode_bf16 gemm_bf16 --rows calibration -o mine.yaml",
    ),
    compare: (
        "compare h200 attn_decode_bf16 --filter head_dim=128",
        "compare a100 attn_prefill_causal_bf16 --filter seq_len>=4096 --out results/a100",
        "compare h200 measured.csv --calibration mine.yaml --format json",
    ),
}


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command, lines in COMMANDS.items():
        app.command(epilog=examples(*lines))(command)
