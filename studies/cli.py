"""The command line ``dse``: its verbs, their options and exit codes.

A verb is the function of the same name in ``dse.studies.verbs.<verb>``, imported when it is called: this module,
``cli_gpu`` and ``cli_serve``, which have some of the verbs, load typer and the standard library only. What a verb
raises becomes an exit code in ``dse.studies.exits``.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from dse import __version__
from dse.studies import cli_codesign, cli_gpu, cli_serve
from dse.studies.options import (
    LISTS,
    SCHEMAS,
    WIDTHS,
    Accounting,
    Changes,
    Format,
    MachineArgument,
    Mapper,
    MappingName,
    Options,
    Output,
    Parameters,
    WorkloadArgument,
    call_verb,
    examples,
    one_of,
)

app = typer.Typer(
    name="dse",
    help="Simulate attention accelerators and explore their designs.",
    epilog="\b\nExamples:\n  dse list machines\n  dse run fusemax bert -p sequence=4K\n  dse sweep fusemax",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line of this process and exit."""
    app(prog_name="dse")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def _dse(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Simulate attention accelerators and explore their designs."""


@app.command("list", epilog=examples("list", "list machines", "list workloads --format json"))
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(LISTS)}; all if left out.", **one_of(LISTS, "[KIND]")),
    ] = None,
    form: Format = "table",
) -> None:
    """List machines, workloads, kernels, mappers, studies and more."""
    call_verb("listing", kind=kind, format=form)


@app.command(
    epilog=examples("check my_machine.yaml", "check arch/*.yaml", "check --resolved fusemax_cascade")
)
def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Paths, folders, or names of shipped files.")
    ],
    resolved: Annotated[bool, typer.Option("--resolved", help="Print each file after 'extends'.")] = False,
) -> None:
    """Validate files of any kind and show all their errors at once."""
    call_verb("check", files=list(files), resolved=resolved)


@app.command(epilog=examples("schema machine > machine.schema.json", "schema cascade"))
def schema(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(SCHEMAS)}.", **one_of(SCHEMAS, "FILE"))],
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only this kind of machine.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file, for editors."""
    call_verb("schema", what=what, kind=kind)


@app.command(
    epilog=examples(
        "passes softmax_3pass",
        "passes softmax_1pass -p e=64 -p f=64 -p m=4K -p p=4K -p m0=256",
        "passes bert -p sequence=4K",
        "passes bert -p sequence=4K -p cascade=softmax_1pass",
    )
)
def passes(
    workload: WorkloadArgument,
    parameters: Parameters = None,
    form: Format = "table",
) -> None:
    """Show passes over each rank, what they keep live, and operations."""
    call_verb("passes", workload=workload, parameters=list(parameters or ()), format=form)


@app.command(
    epilog=examples(
        "run fusemax bert -p sequence=4K -p batch=64",
        "run fusemax bert -p sequence=64K --baseline flat",
        "run fusemax bert -p sequence=4K -m global_buffer.capacity=8MiB --format json",
    )
)
def run(
    machine: MachineArgument,
    workload: WorkloadArgument,
    parameters: Parameters = None,
    changes: Changes = None,
    accounting: Accounting = "physical",
    mapper: Mapper = "paper",
    mapping: MappingName = None,
    options: Options = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="MACHINE", help="Machine to compare with: speedup, energy ratio.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Run the event simulation, too.")] = False,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the simulated timeline, JSON for Perfetto.")
    ] = None,
    output: Output = None,
    form: Format = "table",
) -> None:
    """Evaluate one design point: cycles, energy, bound, breakdown."""
    call_verb(
        "run",
        **_point(machine, workload, parameters, changes, accounting, mapper, mapping, options),
        baseline=baseline,
        simulate=simulate,
        timeline=timeline,
        output=output,
        format=form,
    )


@app.command(
    epilog=examples(
        "explain fusemax bert -p sequence=4K", "explain flat xlm -p sequence=256K --accounting paper"
    )
)
def explain(
    machine: MachineArgument,
    workload: WorkloadArgument,
    parameters: Parameters = None,
    changes: Changes = None,
    accounting: Accounting = "physical",
    mapper: Mapper = "paper",
    mapping: MappingName = None,
    options: Options = None,
    output: Output = None,
    form: Format = "table",
) -> None:
    """Say what a design point costs, what bounds it, what relieves it."""
    call_verb(
        "explain",
        **_point(machine, workload, parameters, changes, accounting, mapper, mapping, options),
        output=output,
        format=form,
    )


@app.command(
    "map",
    epilog=examples(
        "map flat bert -p sequence=64K --count",
        "map flat bert -p sequence=64K --objective pareto",
        "map fusemax bert -p sequence=4K --mapper evolutionary --budget 500 --seed 1",
    ),
)
def map_(
    machine: MachineArgument,
    workload: WorkloadArgument,
    parameters: Parameters = None,
    changes: Changes = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="latency, energy, edp, area_delay, capacity; several with commas, or pareto, for a front.",
        ),
    ] = "latency",
    accounting: Accounting = "physical",
    mapper: Annotated[str, typer.Option(metavar="NAME", help="The search.")] = "exhaustive",
    mapping: MappingName = None,
    space: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A shipped mapping space, or a path; else that of the mapping."),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Candidates to try at most; no limit if left out.")
    ] = None,
    time: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.0, help="Time after which to stop with the best.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of random choices.")] = 0,
    count: Annotated[bool, typer.Option("--count", help="Only say how many candidates there are.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the loop nest found, for --mapping.")
    ] = None,
    output: Output = None,
    form: Format = "table",
) -> None:
    """Search the mappings of a problem: best, Pareto front, rejects."""
    point = _point(machine, workload, parameters, changes, accounting, mapper, mapping, None)
    del point["options"]
    call_verb(
        "map",
        **point,
        objective_name=objective,
        space=space,
        budget=budget,
        seconds=time,
        seed=seed,
        count=count,
        save=save,
        output=output,
        format=form,
    )


def _point(
    machine: str,
    workload: str,
    parameters: list[str] | None,
    changes: list[str] | None,
    accounting: str,
    mapper: str,
    mapping: str | None,
    options: list[str] | None,
) -> dict[str, Any]:
    """The inputs of one design point under the names verbs give them."""
    return {
        "machine": machine,
        "workload": workload,
        "parameters": list(parameters or ()),
        "changes": list(changes or ()),
        "accounting": accounting,
        "mapper": mapper,
        "mapping": mapping,
        "options": list(options or ()),
    }


@app.command(epilog=examples("sweep fusemax", "sweep arch/fusemax.yaml --jobs 4 --out results/mine --fresh"))
def sweep(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A machine or sweep: a shipped name, or a path.")
    ],
    jobs: Annotated[int, typer.Option("-j", "--jobs", metavar="N", min=1, help="Processes to use.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; results/<name> if left out.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what the folder holds.")] = False,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the figures.")] = True,
    ledger: Annotated[
        bool | None,
        typer.Option(
            "--ledger/--no-ledger",
            help="Write the ledger of every point; up to 10,000 points by default.",
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A dask scheduler, or its scheduler file."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the size and the expected time; write nothing.")
    ] = False,
    changes: Changes = None,
    parameters: Parameters = None,
    form: Format = "table",
) -> None:
    """Evaluate all design points of a sweep; a second call resumes."""
    call_verb(
        "sweep",
        file=file,
        jobs=jobs,
        out=out,
        fresh=fresh,
        plots=plots,
        ledger=ledger,
        cluster=cluster,
        dry_run=dry_run,
        format=form,
        changes=list(changes or ()),
        parameters=list(parameters or ()),
    )


@app.command(epilog=examples("plot results/fusemax", "plot results/fusemax --kind roofline --kind speedup"))
def plot(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="The folder of a sweep.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Figure to draw; repeatable; all if left out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; figures/ of RESULTS if left out.")
    ] = None,
    width: Annotated[
        str, typer.Option(help="Width of the figures: 3.5 or 7 inches.", **one_of(WIDTHS))
    ] = "page",
) -> None:
    """Draw the figures of a sweep, each with its data."""
    call_verb("plot", results=results, kinds=list(kinds or ()), out=out, width=width)


@app.command(epilog=examples("study fusemax", "study --all --format json"))
def study(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Studies to reproduce.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All studies there are.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write tables and figures.")
    ] = None,
    form: Format = "table",
) -> None:
    """Reproduce published results: claimed against simulated."""
    if bool(names) == all_:
        raise typer.BadParameter("give either names of studies, or --all", param_hint="NAME")
    call_verb("study", names=list(names or ()), all_=all_, out=out, format=form)


cli_codesign.add_to(app)
cli_serve.add_to(app)
cli_gpu.add_to(app)
