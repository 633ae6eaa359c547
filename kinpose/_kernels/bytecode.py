"""Programs of scalars as bytecode for a machine whose registers hold many examples.

A compiler takes a millisecond for each operation of a long program. The loop that reads
instructions is compiled in a fifth of a second, however many they are; and to read one costs
little where it is for a hundred examples. Most of kinematics is sums of products, so one
instruction adds several of them.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from kinpose._kernels.jaxprs import depth_first, jaxpr_from, names_of, vmap_jaxpr
from kinpose._kernels.polynomials import TURNED, with_polynomials

SIGNS, OPERANDS = 4, 7
"""How many of them an instruction has at most."""

_SUMS = {"pppv", *(x for n in (1, 2, 3) for x in map("".join, itertools.product("pv", repeat=n)))}
"""Sums that are one instruction: products p and values v, in the order in which they are added."""


class Bytecode(NamedTuple):
    """A program.

    Its registers are, in this order, arguments of which each example has its own, sines and then
    cosines of some of these, shared arguments, constants, values on the way, and results.

    Attributes:
      instructions: (I, 2 + SIGNS + OPERANDS) each the number of a kind, the register of its
        result, signs (1 or -1) of what it adds, and the registers of its operands.
      kinds: functions of an instruction's signs and of what reads its i-th operand.
      turned: the arguments whose sines, and then cosines, have registers.
      constants: their values.
      num_others: how many registers values on the way take in turn.
    """

    instructions: np.ndarray
    kinds: tuple[Callable, ...]
    turned: range
    constants: np.ndarray
    num_others: int


class _Instruction(NamedTuple):
    """What it does, and the names of registers."""

    kind: str | tuple
    result: object
    signs: list[int]
    operands: list


class _Constant(NamedTuple):
    """Its name."""

    number: bytes


class _Result(NamedTuple):
    """Its name, where no instruction computes it for this place alone."""

    place: int


class _Reads(NamedTuple):
    """What computes a variable, and how often it is read."""

    makers: dict
    counts: Counter

    def maker(self, x, *names: str, alone: bool = False) -> JaxprEqn | None:
        """The equation that computes it, if it is one of these; for one reader alone."""
        maker = None if isinstance(x, Literal) else self.makers.get(x)
        found = maker and maker.primitive.name in names and not (alone and self.counts[x] > 1)
        return maker if found else None


@functools.lru_cache(maxsize=256)
def bytecode_of(program: ClosedJaxpr, own: tuple[bool, ...]) -> Bytecode:
    """Compiles a program.

    Args:
      program: of which all derivatives have been taken.
      own: of each argument, whether every example has its own.
    """
    jaxpr = program.jaxpr
    arguments = [x for x, each in zip(jaxpr.invars, own, strict=True) if each]
    shared = [x for x, each in zip(jaxpr.invars, own, strict=True) if not each]
    turned, turns = _turned(jaxpr, arguments)
    listing, functions = _listing(jaxpr, turns)
    values = dict(zip(jaxpr.constvars, map(_constant, program.consts), strict=True))
    literals = [x for each in listing for x in each.operands if isinstance(x, _Constant)]
    constants = list(dict.fromkeys([*values.values(), *literals]))
    named = [*arguments, *[None] * (2 * len(turned)), *shared, *constants]
    registers = {x: i for i, x in enumerate(named)} | turns
    registers |= {x: registers[value] for x, value in values.items()}
    results = {x: i for i, x in enumerate(jaxpr.outvars) if not isinstance(x, Literal)}
    results |= {x.result: x.result.place for x in listing if isinstance(x.result, _Result)}
    others, num_others = _others(listing, {*registers, *results})
    registers = (
        {x: len(named) + num_others + i for x, i in results.items()}
        | {x: len(named) + i for x, i in others.items()}
        | registers
    )

    kinds = {kind: number for number, kind in enumerate({x.kind: None for x in listing})}
    table = np.zeros((len(listing), 2 + SIGNS + OPERANDS), np.int32)
    for row, (kind, result, signs, operands) in zip(table, listing, strict=True):
        row[:2] = kinds[kind], registers[result]
        row[2 : 2 + len(signs)] = signs
        row[2 + SIGNS : 2 + SIGNS + len(operands)] = [registers[x] for x in operands]
    return Bytecode(
        instructions=table,
        kinds=tuple(functions.get(x) or functools.partial(_sum, x) for x in kinds),
        turned=turned,
        constants=np.array([np.frombuffer(x.number)[0] for x in constants]),
        num_others=num_others,
    )


def _turned(jaxpr: Jaxpr, arguments: list) -> tuple[range, dict]:
    """A range of arguments, and registers of the sines and cosines that are taken of them."""
    places = {x: i for i, x in enumerate(arguments) if x.aval.dtype == np.float32}
    found = [
        (places[equation.invars[0]], TURNED.index(equation.primitive.name), equation.outvars[0])
        for equation in jaxpr.eqns
        if equation.primitive.name in TURNED
        and not isinstance(equation.invars[0], Literal)
        and equation.invars[0] in places
    ]
    of = [i for i, _, _ in found]
    turned = range(min(of), max(of) + 1) if found else range(0)
    start = len(arguments) - turned.start
    return turned, {x: start + kind * len(turned) + i for i, kind, x in found}


def _listing(jaxpr: Jaxpr, known: dict) -> tuple[list[_Instruction], dict[tuple, Callable]]:
    """Instructions in order, and the functions of those that are not sums.

    Args:
      jaxpr: the program.
      known: variables that need no instruction.
    """
    equations = depth_first(jaxpr)
    makers = {x: equation for equation in equations for x in equation.outvars}
    read = (x for equation in equations for x in equation.invars)
    reads = _Reads(makers, Counter(names_of([*jaxpr.outvars, *read])))
    last = {x: i for i, x in enumerate(jaxpr.outvars) if not isinstance(x, Literal)}
    found = [
        _Instruction("v", _Result(i), [1], [_named(x)])
        for i, x in enumerate(jaxpr.outvars)
        if isinstance(x, Literal) or last[x] != i or x not in makers or x in known
    ]
    needed, functions = set(names_of(jaxpr.outvars)) - set(known), {}
    for equation in reversed(equations):  # those that became part of a sum are not needed
        if not needed.isdisjoint(equation.outvars):
            own = _instructions(equation, reads, functions)
            needed.update(x for each in own for x in each.operands if x not in known)
            found += reversed(own)
    return found[::-1], functions


def _instructions(equation: JaxprEqn, reads: _Reads, functions: dict) -> list[_Instruction]:
    """Those that compute an equation's results; adds the functions that they need."""
    name, (result, *_) = equation.primitive.name, equation.outvars
    real = jnp.issubdtype(result.aval.dtype, jnp.floating)
    if not real or name not in ("add", "add_any", "sub", "mul", "neg"):
        return [_other(equation, i, functions) for i in range(len(equation.outvars))]
    terms, found = _terms(equation, reads), []
    while terms:
        kind = "".join("vp"[len(factors) - 1] for _, factors in terms[:SIGNS])
        kind = kind if kind in _SUMS else kind[:-1]
        part, terms = terms[: len(kind)], terms[len(kind) :]
        partial = object() if terms else result
        signs, operands = [sign for sign, _ in part], [x for _, each in part for x in each]
        found.append(_Instruction(kind, partial, signs, operands))
        terms = [(1, [partial]), *terms] if terms else []
    return found


def _terms(equation: JaxprEqn, reads: _Reads) -> list[tuple[int, list]]:
    """A sum as signs and factors, one or two each, to be added in this order."""
    if equation.primitive.name == "mul":
        return [_product(1, equation, reads)]
    if equation.primitive.name == "neg":
        return [_term(-1, equation.invars[0], reads)]
    terms = []
    while equation:
        first, second = equation.invars
        terms.append(_term(-1 if equation.primitive.name == "sub" else 1, second, reads))
        equation = reads.maker(first, "add", "add_any", "sub", alone=True)
    return [_term(1, first, reads), *terms[::-1]]


def _term(sign: int, x, reads: _Reads) -> tuple[int, list]:
    sign, x = _without_sign(sign, x, reads)
    product = reads.maker(x, "mul", alone=True)
    return _product(sign, product, reads) if product else (sign, [_named(x)])


def _product(sign: int, equation: JaxprEqn, reads: _Reads) -> tuple[int, list]:
    factors = []
    for x in equation.invars:
        sign, x = _without_sign(sign, x, reads)
        factors.append(_named(x))
    return sign, factors


def _without_sign(sign: int, x, reads: _Reads) -> tuple[int, object]:
    while negation := reads.maker(x, "neg"):
        sign, x = -sign, negation.invars[0]
    return sign, x


def _other(equation: JaxprEqn, place: int, functions: dict) -> _Instruction:
    """Of any other operation, this result."""
    avals = tuple(x.aval for x in equation.invars)
    kind = equation.primitive.name, str(sorted(equation.params.items(), key=str)), avals, place
    if kind not in functions:
        names = jax.make_jaxpr(lambda *args: args)(*avals).jaxpr.invars
        alone = equation.replace(invars=names)
        program = ClosedJaxpr(jaxpr_from(names, [equation.outvars[place]], [alone]), ())
        functions[kind] = functools.partial(_by_jax, with_polynomials(program))
    return _Instruction(kind, equation.outvars[place], [], [_named(x) for x in equation.invars])


def _others(listing: list[_Instruction], known: set) -> tuple[dict, int]:
    """Places for the results that have none: one that is free again is taken next."""
    last = {x: i for i, each in enumerate(listing) for x in each.operands}
    places, free, count = {}, [], 0
    for i, each in enumerate(listing):
        free += [places[x] for x in dict.fromkeys(each.operands) if x in places and last[x] == i]
        if each.result in known:
            continue
        if not free:
            free.append(count)
            count += 1
        places[each.result] = free.pop()
    return places, count


def _named(x) -> object:
    return _constant(x.val) if isinstance(x, Literal) else x


def _constant(value) -> _Constant:
    return _Constant(np.float64(value).tobytes())


def _by_jax(program: ClosedJaxpr, signs: jax.Array, read: Callable[[int], jax.Array]) -> jax.Array:
    del signs
    example = read(0)
    args = [read(i).astype(aval.dtype) for i, aval in enumerate(program.in_avals)]
    return vmap_jaxpr(program, example.shape, args)[0].astype(example.dtype)


def _sum(kind: str, signs: jax.Array, read: Callable[[int], jax.Array]) -> jax.Array:
    total, operands = None, map(read, itertools.count())
    for sign, each in zip(signs, kind, strict=False):
        term = next(operands) if each == "v" else next(operands) * next(operands)
        term = sign.astype(term.dtype) * term
        total = term if total is None else total + term
    return total
