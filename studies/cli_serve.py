"""Command of ``dse`` that serves a stream of requests."""

from typing import Annotated

import typer

from dse.studies.options import (
    Accounting,
    Changes,
    Format,
    MachineArgument,
    MappingName,
    Options,
    Output,
    Parameters,
    call_verb,
    examples,
    one_of,
)

Rates = Annotated[
    list[float] | None,
    typer.Option("--rate", metavar="R", help="Requests a second; repeatable; else shares of what it can do."),
]
POLICIES = ("prefill_first", "mixed")


def serve(
    machine: MachineArgument,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model, or a path.")],
    rates: Rates = None,
    prompt: Annotated[
        str, typer.Option(metavar="N[-M]", help="Tokens of a prompt, or least and most.")
    ] = "512",
    tokens: Annotated[
        str, typer.Option(metavar="N[-M]", help="Tokens of an output, or least and most.")
    ] = "128",
    requests: Annotated[int, typer.Option(metavar="N", min=1, help="Requests to serve.")] = 200,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Most requests in one step.")] = 256,
    policy: Annotated[
        str, typer.Option(help="Prefill before the decode step, or beside it.", **one_of(POLICIES))
    ] = "prefill_first",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of arrivals and lengths.")] = 0,
    together: Annotated[
        bool, typer.Option("--together", help="One batch that starts and ends together, step by step.")
    ] = False,
    parameters: Parameters = None,
    changes: Changes = None,
    accounting: Accounting = "physical",
    mapping: MappingName = None,
    options: Options = None,
    output: Output = None,
    form: Format = "table",
) -> None:
    """Serve random requests: throughput and latency of tokens by load."""
    point = {
        "parameters": list(parameters or ()),
        "changes": list(changes or ()),
        "accounting": accounting,
        "mapping": mapping,
        "options": list(options or ()),
    }
    call_verb(
        "serve",
        **point,
        machine=machine,
        model=model,
        rates=list(rates or ()),
        lengths={"prompt": prompt, "tokens": tokens},
        requests=requests,
        batch=batch,
        policy=policy,
        seed=seed,
        together=together,
        output=output,
        format=form,
    )


def add_to(app: typer.Typer) -> None:
    """The command as one of the application's."""
    app.command(
        epilog=examples(
            "serve duplex mixtral_8x7b --prompt 512 --tokens 128",
            "serve dgx_attacc gpt3_175b --rate 0.1 --rate 0.2 --prompt 1K-2K --policy mixed",
            "serve dgx_attacc gpt3_175b --together --batch 16 --prompt 2K --tokens 2K",
        )
    )(serve)
