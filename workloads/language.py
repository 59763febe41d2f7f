"""Parser of the Einsum notation (``einsum.lark``): one line of text to one ``Einsum``, errors with a caret.

Checked here: grammar, operator names, arity of functions, constants, ``last``. What needs the whole cascade
(tensors, ranks, order) is checked by ``cascade_check``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from dse.errors import Problem, WorkloadError, nearest
from dse.workloads.cascade import Access, Call, Constant, Einsum, Expression, Index, Reduction
from dse.workloads.operators import FUNCTIONS, INFIX, REDUCERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.errors import Place

MAX_OPERATORS = 64
SHOWN = 100
_TERMINALS = {
    "$END": "the end",
    "NAME": "a name",
    "NUMBER": "a number",
    "INT": "a whole number",
    "COMPARISON": "a comparison",
    "EQUAL": "'='",
    "COLON": "':reduction(...)'",
    "COMMA": "','",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "STAR": "'*'",
    "SLASH": "'/'",
}


class Fault(Exception):  # noqa: N818 - a place in the text on its way to a Problem, never seen by users
    """What is wrong at a column of an Einsum's text."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


def pointed(message: str, text: str, column: int) -> str:
    """Message followed by the Einsum's text and a caret line under ``column`` (from 0)."""
    line = "".join(character if character.isprintable() else " " for character in text)
    start = max(0, column - SHOWN // 2) if len(line) > SHOWN else 0
    dots = "..." if start else ""
    shown = dots + line[start : start + SHOWN] + ("..." if start + SHOWN < len(line) else "")
    return f"{message}\n    {shown}\n    {' ' * (column - start + len(dots))}^"


def parse_einsum(
    text: str,
    carried: Mapping[str, str] | None = None,
    constants: Mapping[str, float] | None = None,
    place: Place | None = None,
    path: str = "",
) -> Einsum:
    """One Einsum from its text.

    Parameters
    ----------
    carried
        Carried tensors and their rank: what ``last`` stands for.
    constants
        Named constants the text may use.
    place, path
        Where the text stands, for the error.

    Raises
    ------
    WorkloadError
        With the text, a caret and what was expected.
    """
    try:
        return _Builder(text, carried or {}, constants or {}).einsum(_tree(text))
    except Fault as fault:
        raise WorkloadError(Problem(pointed(fault.message, text, fault.column), place, path)) from None


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("einsum.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def _tree(text: str) -> Tree[Token]:
    try:
        return _parser().parse(text)
    except UnexpectedToken as error:
        end = error.token.type == "$END"
        found = "the text ends here" if end else f"unexpected '{error.token}'"
        column = len(text.rstrip()) if end else _column(error.token)
        raise Fault(f"{found}; expected {_expected(error.accepts or set())}", column) from None
    except UnexpectedCharacters as error:
        column = error.pos_in_stream or 0
        before = _parser().parse_interactive(text[:column])
        before.exhaust_lexer()
        accepted: set[str] = before.accepts()  # type: ignore[no-untyped-call]
        message = f"unexpected {text[column]!r}; expected {_expected(accepted)}"
        raise Fault(message, column) from None


def _expected(terminals: set[str]) -> str:
    words = sorted(_TERMINALS[name] for name in terminals if name in _TERMINALS)
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _column(item: Tree[Token] | Token) -> int:
    position = item.start_pos if isinstance(item, Token) else item.meta.start_pos
    return position or 0


@dataclass
class _Builder:
    """Turns lark's tree into an Einsum; counts operators so that nesting stays bounded."""

    text: str
    carried: Mapping[str, str]
    constants: Mapping[str, float]
    operators: int = 0

    def einsum(self, tree: Tree[Token]) -> Einsum:
        target, expression, *reductions = tree.children
        output = self.access(target)
        built = Einsum(output, self.expression(expression), (), self.text)
        written = tuple(self.reduction(item) for item in reductions)
        named = {rank for reduction in written for rank in reduction.ranks}
        implied = tuple(rank for rank in built.reduced if rank not in named)
        sums = (Reduction("add", implied),) if implied else ()
        return Einsum(output, built.expression, (*sums, *written), self.text)

    def expression(self, node: Tree[Token] | Token) -> Expression:
        assert isinstance(node, Tree)
        if node.data == "access":
            return self.access(node)
        if node.data in {"number", "constant"}:
            return self.constant(_token(node.children[0]))
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise Fault(f"more than {MAX_OPERATORS} operators; write two Einsums", _column(node))
        if node.data == "negated":
            return _negated(self.expression(node.children[0]))
        return self.binary(node) if node.data == "binary" else self.call(node)

    def binary(self, node: Tree[Token]) -> Call:
        left, right = node.children[0], node.children[2]
        symbol = str(_token(node.children[1]))
        operands = (self.expression(left), self.expression(right))
        if symbol in {"<", "<="}:
            return Call(INFIX[symbol.replace("<", ">")].name, operands[::-1])
        return Call(INFIX[symbol].name, operands)

    def call(self, node: Tree[Token]) -> Call:
        name = _token(node.children[0])
        if name not in FUNCTIONS:
            hint = nearest(name, FUNCTIONS) or f"; known: {', '.join(sorted(FUNCTIONS))}"
            raise Fault(f"unknown operator '{name}'{hint}", _column(name))
        operands = node.children[1:]
        arity = FUNCTIONS[name].arity
        if len(operands) != arity:
            raise Fault(f"'{name}' takes {arity} operand(s), not {len(operands)}", _column(name))
        return Call(str(name), tuple(self.expression(operand) for operand in operands))

    def constant(self, token: Token) -> Constant:
        if token.type == "NUMBER":
            value = float(token)
            if not math.isfinite(value):
                raise Fault(f"'{token}' is too large for a number", _column(token))
            return Constant(str(token), value)
        if token == "inf":
            return Constant("inf", math.inf)
        if token not in self.constants:
            hint = nearest(token, self.constants)
            message = f"unknown constant '{token}'{hint} (a tensor is written {token}[...])"
            raise Fault(message, _column(token))
        return Constant(str(token), self.constants[token])

    def access(self, node: Tree[Token] | Token) -> Access:
        assert isinstance(node, Tree)
        name, *indices = node.children
        built = tuple(self.index(_token(name), index) for index in indices)
        return Access(str(name), built, _column(name))

    def index(self, tensor: Token, node: Tree[Token] | Token) -> Index:
        assert isinstance(node, Tree)
        rank, *offset = (_token(child) for child in node.children)
        if rank == "last":
            if tensor not in self.carried:
                hint = nearest(tensor, self.carried)
                message = f"'last' reads the final value of a carried tensor; '{tensor}' is not carried{hint}"
                raise Fault(message, _column(rank))
            if offset:
                raise Fault("'last' takes no offset", _column(rank))
            return Index(self.carried[tensor], last=True)
        if offset and len(offset[0]) > 3:
            raise Fault("an offset has at most 3 digits", _column(offset[0]))
        return Index(str(rank), int(offset[0]) if offset else 0)

    def reduction(self, node: Tree[Token] | Token) -> Reduction:
        assert isinstance(node, Tree)
        name = _token(node.children[0])
        words = [_token(argument.children[0]) for argument in node.children[1:] if isinstance(argument, Tree)]
        if name not in REDUCERS:
            hint = nearest(name, REDUCERS) or f"; known: {', '.join(sorted(REDUCERS))}"
            raise Fault(f"unknown reduction '{name}'{hint}", _column(name))
        reducer = REDUCERS[name]
        argument = None
        if reducer.parameter:
            if len(words) < 2:
                message = f"':{name}' takes ranks and then {reducer.parameter}, as in :{name}(m, 8)"
                raise Fault(message, _column(name))
            argument = self.constant(words.pop())
        for word in words:
            if word.type == "NUMBER":
                raise Fault(f"expected a rank, not '{word}'", _column(word))
        return Reduction(reducer.name, tuple(map(str, words)), argument, _column(name))


def _token(node: Tree[Token] | Token) -> Token:
    assert isinstance(node, Token)
    return node


def _negated(operand: Expression) -> Expression:
    # A sign before a literal belongs to the number, so that -inf and -1 are constants, not operations.
    if isinstance(operand, Constant) and (
        operand.name == "inf" or operand.name[0].isdigit() or operand.name[0] == "."
    ):
        return Constant(f"-{operand.name}", -operand.value)
    return Call("negate", (operand,))
