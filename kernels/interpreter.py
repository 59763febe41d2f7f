"""Hooks on Triton's interpreter, and the speed-ups that make tracing no slower than the stock interpreter.

Modelled: an `Observer` hears of launches, programs, loops, memory accesses, dots, reductions and every other
operation that computes, in program order. Works with triton 3.6 to 3.9. While a session is open, overflow
checks on integers are off (they add operations that no GPU executes), language patches are applied once and
not at every call, autotuners take one configuration without timing any, and bf16 arithmetic is refused
because the interpreter computes it on raw integers.

Not modelled: block pointers (removed in triton 3.8), scaled dots, inline assembly, and the trips of ``while``
loops (what happens in them is heard).
"""

from __future__ import annotations

import builtins
import dataclasses
import inspect
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import triton.language as tl
from triton.runtime import autotuner
from triton.runtime import interpreter as stock

from dse.errors import DseError, TraceError
from dse.kernels.launch import BF16_REFUSED, start_interpreter
from dse.kernels.observer import LOADED, Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Triton carries no types; what comes from it is named so.
Foreign: TypeAlias = Any

# Builder methods that move, name or check values without computing, or that call one that is heard.
_SILENT = frozenset((
    "get_program_id", "get_num_programs", "load", "store", "tensor_pointer_load", "tensor_pointer_store",
    "descriptor_load", "descriptor_store", "descriptor_gather", "descriptor_scatter",
    "make_tensor_descriptor", "make_block_ptr", "advance", "bitcast", "int_to_ptr", "ptr_to_int", "reshape",
    "trans", "expand_dims", "broadcast", "cat", "join", "split", "splat", "unsplat", "make_range", "gather",
    "assert", "assume", "barrier", "print", "idiv",
))  # fmt: skip
_MEMORY = {"masked_load": "load", "masked_store": "store", "atomic_rmw": "atomic", "atomic_cas": "atomic"}
_CASTS = frozenset(("fp_to_fp", "fp_ext", "fp_trunc", "select"))
_COMBINERS = {
    "_elementwise_max": "max",
    "_elementwise_min": "min",
    "_sum_combine": "add",
    "_prod_combine": "multiply",
    "_argmax_combine_tie_break_left": "argmax",
    "_argmin_combine_tie_break_left": "argmin",
}
_ABSENT = object()


@contextmanager
def session(observer: Observer | None = None) -> Iterator[None]:
    """Report every kernel launch within the context to ``observer``; all patches are undone at the end.

    Without an observer only the speed-ups apply.

    Raises
    ------
    TraceError
        If triton was imported with the interpreter off, or a kernel fails; with an observer also if it does
        bf16 arithmetic or uses what cannot be traced.
    """
    start_interpreter()
    builder = stock.interpreter_builder
    with ExitStack() as undo:
        _set(undo, builder, "options", dataclasses.replace(builder.options, sanitize_overflow=False))
        _set(undo, stock, "_patch_lang", _PatchOnce(stock._patch_lang, observer or Observer(), undo))
        _set(undo, stock.GridExecutor, "__call__", _grid_runner(observer or Observer()))
        _set(undo, autotuner.Autotuner, "run", _tuner_bypass(observer or Observer()))
        if observer is not None:
            _hook(undo, observer)
        yield


def _tuner_bypass(observer: Observer) -> Callable[..., None]:
    """Replacement of ``Autotuner.run``: there is nothing to time, so one configuration is taken by number."""

    def run(tuner: Foreign, *arguments: Foreign, **options: Foreign) -> None:
        names = [str(configuration) for configuration in tuner.configs]
        chosen = tuner.configs[observer.configure(tuner.base_fn.__name__, names)]
        if chosen.pre_hook is not None:
            named = dict(zip(tuner.arg_names, arguments, strict=False))
            chosen.pre_hook({**named, **options, **chosen.all_kwargs()})
        tuner.fn.run(*arguments, **options, **chosen.all_kwargs())

    return run


def _set(undo: ExitStack, owner: Foreign, name: str, value: object) -> None:
    """Set an attribute until ``undo`` closes; one that the owner did not hold itself is removed again."""
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    if before is _ABSENT:
        undo.callback(delattr, owner, name)
    else:
        undo.callback(setattr, owner, name, before)


class _PatchOnce:
    """Stands in for the interpreter's language patching, which it repeats at every device-function call."""

    def __init__(self, original: Callable[[Foreign], Foreign], observer: Observer, undo: ExitStack) -> None:
        self._original = original
        self._observer = observer
        self._undo = undo
        self._functions: set[Foreign] = set()
        self._languages: set[tuple[bool, bool]] = set()
        self._modules: set[int] = set()

    def __call__(self, function: Foreign) -> _PatchOnce:
        if function not in self._functions:
            self._functions.add(function)
            self._patch(function)
        return self

    def restore(self) -> None:
        """Nothing yet: the session undoes all patches at its end."""

    def _patch(self, function: Foreign) -> None:
        names = function.__globals__
        seen = tuple(any(value is language for value in names.values()) for language in (tl, tl.core))
        if seen not in self._languages:
            self._languages.add((seen[0], seen[1]))
            self._undo.callback(self._original(function).restore)
            # Before 3.7 a tensor bound of range() fails with numpy >= 2.4.
            _set(self._undo, tl.tensor, "__index__", lambda tensor: int(self._controlling(tensor).item()))
            _set(self._undo, tl.tensor, "__bool__", lambda tensor: bool(self._truth(tensor)))
            for name in ("range", "static_range"):
                _set(self._undo, tl, name, self._range)
        if id(names) not in self._modules and not function.__module__.startswith("triton."):
            self._modules.add(id(names))
            before = names.get("range", _ABSENT)
            names["range"] = self._range
            self._undo.callback(_restore_name, names, "range", before)

    def _controlling(self, tensor: Foreign) -> Foreign:
        self._observer.control(tensor.handle)
        return tensor.handle.data

    def _truth(self, tensor: Foreign) -> Foreign:
        """As the interpreter has it: only a scalar may be false."""
        data = self._controlling(tensor)
        return data.item() if data.size == 1 else True

    def _range(
        self,
        first: Foreign,
        stop: Foreign = None,
        step: Foreign = 1,
        **_: object,
    ) -> Iterator[int]:
        """``range`` that reports its trips; takes the compiler hints of ``tl.range`` and ignores them."""
        numbers = builtins.range(first) if stop is None else builtins.range(first, stop, step)
        trips = 0
        try:
            for trip in self._observer.begin_loop(len(numbers)):
                self._observer.begin_trip(trip)
                trips += 1
                yield numbers[trip]
        finally:
            self._observer.end_loop(trips)


def _restore_name(names: dict[str, Foreign], name: str, before: object) -> None:
    if before is _ABSENT:
        names.pop(name, None)
    else:
        names[name] = before


def _hook(undo: ExitStack, observer: Observer) -> None:
    """Wrap the builder instance's ``create_*`` methods, and the reductions, which bypass the builder."""
    builder = stock.interpreter_builder
    hooks = _Hooks(observer)
    for method, function in inspect.getmembers(builder, callable):
        name = method.removeprefix("create_")
        if name != method and name not in _SILENT:
            _set(undo, builder, method, hooks.wrap(name, function))
        elif name != method and observer.follows_loads:
            _set(undo, builder, method, hooks.follow(function))
    for kind, operations in (("reduce", stock.ReduceOps), ("scan", stock.ScanOps)):
        _set(undo, operations, "apply", hooks.wrap_reduction(kind, operations.apply))


class _Hooks:
    """Wrappers around the interpreter's operations; silent inside a reduction, which is one operation."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._inside = 0

    def wrap(self, name: str, original: Callable[..., Foreign]) -> Callable[..., Foreign]:
        """The builder method with its report."""
        if name in _MEMORY:
            return self._memory(name, original)
        report = self._report(name)

        def hooked(*operands: Foreign, **options: Foreign) -> Foreign:
            result = original(*operands, **options)
            if not self._inside and isinstance(result, stock.TensorHandle):
                if name not in _CASTS:
                    _refuse_bf16(*operands, result)
                report(operands, result)
            return result

        return self.follow(hooked) if self._observer.follows_loads else hooked

    def follow(self, original: Callable[..., Foreign]) -> Callable[..., Foreign]:
        """The builder method, whose result is marked as loaded if one of its operands is."""

        def followed(*operands: Foreign, **options: Foreign) -> Foreign:
            result = original(*operands, **options)
            if any(_loaded(operand) for operand in operands):
                _mark(result)
            return result

        return followed

    def _report(self, name: str) -> Callable[[tuple[Foreign, ...], Foreign], None]:
        observer = self._observer
        if name == "dot":
            return lambda operands, result: observer.dot(operands[0], operands[1], result)
        if name == "select":
            return lambda operands, result: observer.select(operands[0], result)
        if name == "dot_scaled":
            return _refuse_scaled
        return lambda operands, result: observer.operation(name, operands[0], result)

    def _memory(self, name: str, original: Callable[..., Foreign]) -> Callable[..., Foreign]:
        # Arguments: load(pointers, mask), store(pointers, value, mask), rmw(operator, pointers, value, mask).
        pointers, mask = {"atomic_rmw": (1, 3), "atomic_cas": (0, None), "masked_store": (0, 2)}.get(
            name, (0, 1)
        )

        def hooked(*operands: Foreign, **options: Foreign) -> Foreign:
            chosen = None if mask is None else operands[mask]
            self._observer.memory(_MEMORY[name], operands[pointers], chosen)
            result = original(*operands, **options)
            if self._observer.follows_loads:
                _mark(result)
            return result

        return hooked

    def wrap_reduction(self, kind: str, original: Callable[..., Foreign]) -> Callable[..., Foreign]:
        """``ReduceOps.apply`` or ``ScanOps.apply`` with its report."""

        def apply(reduction: Foreign, operands: Foreign) -> Foreign:
            if not isinstance(operands, tuple):
                # The original wraps a single operand into a tuple and calls itself.
                return original(reduction, operands)
            handle = operands[0].handle
            _refuse_bf16(handle)
            name = reduction.combine_fn.__name__
            self._observer.reduction(kind, _COMBINERS.get(name, name), handle, reduction.axis)
            self._inside += 1
            try:
                result = original(reduction, operands)
            finally:
                self._inside -= 1
            if any(_loaded(operand.handle) for operand in operands):
                for value in result if isinstance(result, tuple) else (result,):
                    _mark(value.handle)
            return result

        return apply


def _loaded(value: Foreign) -> bool:
    return isinstance(value, stock.TensorHandle) and LOADED in value.attr


def _mark(result: Foreign) -> None:
    for value in result if isinstance(result, tuple) else (result,):
        if isinstance(value, stock.TensorHandle):
            value.attr[LOADED] = True


def _refuse_bf16(*handles: Foreign) -> None:
    for handle in handles:
        if isinstance(handle, stock.TensorHandle) and handle.dtype.name == "bf16":
            raise TraceError(BF16_REFUSED)


def _refuse_scaled(operands: tuple[Foreign, ...], result: Foreign) -> None:
    raise TraceError("scaled dots (tl.dot_scaled) are not traced")


def _grid_runner(observer: Observer) -> Callable[..., None]:
    """Replacement of ``GridExecutor.__call__`` that lets the observer choose programs and hear of them."""

    def run(executor: Foreign, *arguments: Foreign, **options: Foreign) -> None:
        function = executor.fn
        options = {key: value for key, value in options.items() if key in executor.arg_names}
        host_arguments, host_options = executor._init_args_hst(arguments, options)
        for hook in executor.pre_run_hooks:
            hook(*host_arguments, **host_options)
        stock._patch_lang(function)
        bound = inspect.getcallargs(function, *host_arguments, **host_options)
        handles = {
            name: value if name in executor.constexprs else stock._implicit_cvt(value)
            for name, value in bound.items()
        }
        grid = executor.grid(handles) if callable(executor.grid) else executor.grid
        _run_programs(observer, function, bound, handles, tuple(int(size) for size in grid))
        if any(_moved(value) for value in arguments):
            executor._restore_args_dev(arguments, host_arguments, options, host_options)

    return run


def _moved(value: Foreign) -> bool:
    """Whether an argument lies on a device, so that it was copied here and must be copied back."""
    if isinstance(value, tuple):
        return any(_moved(item) for item in value)
    device = getattr(getattr(value, "base", value), "device", None)
    return getattr(device, "type", "cpu") != "cpu"


def _run_programs(
    observer: Observer,
    function: Foreign,
    bound: Mapping[str, object],
    handles: Mapping[str, object],
    sizes: tuple[int, ...],
) -> None:
    x, y, z = sizes + (1,) * (3 - len(sizes))
    builder = stock.interpreter_builder
    builder.set_grid_dim(x, y, z)
    observer.begin_launch(function.__name__, function.__code__.co_filename, bound, (x, y, z))
    try:
        for place in observer.programs((x, y, z)):
            builder.set_grid_idx(*place)
            observer.begin_program(place)
            function(**handles)
            observer.end_program()
    except Exception as error:
        raise _understandable(error, function.__name__) from error
    observer.end_launch()


def _understandable(error: Exception, kernel: str) -> DseError:
    """The dse error behind what the interpreter wraps once per device function, or a TraceError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DseError):
            return cause
        cause = cause.__cause__
    return TraceError(f"kernel '{kernel}' failed in the interpreter: {error}")
