"""Signs of states in coverage maps: a colour and a mark each, as patterns of cells and as a legend.

Small cells have no mark, because it would be noise; the colours alone are told apart then, also by
those who see some colours alike.
"""

from collections.abc import Sequence
from typing import Final

from delivery.ledger.shard_status import ShardState
from producer import svg
from producer.coverage import SEVERITY, CoverageMap
from producer.render import count
from producer.report.charts import STATES
from producer.report.elements import escaped

_MARKED, _PLAIN = "cell", "plain"  # prefixes of patterns
_LEAST_MARKED: Final = 7  # pixels of a cell
_SIGN_PIXELS: Final = 16
_BOX: Final = '<rect x=".05" y=".05" width=".9" height=".9" style="fill:var(--{})"/>'
_MARK: Final = '<path d="{}" fill="none" stroke-width=".16" style="stroke:var(--mark)"/>'
_MARKS: Final = {
    ShardState.DONE: "",
    ShardState.WAITING: "M.45 .5h.1",
    ShardState.READY: "M.5 .3v.4M.3 .5h.4",
    ShardState.BLOCKED: "M.2 .35h.6M.2 .65h.6",
    ShardState.GIVEN_UP: "M.2 .8L.8 .2",
    ShardState.FAILED: "M.22 .22L.78 .78M.78 .22L.22 .78",
}
_PLAIN_BOX: Final = '<rect width="{0}" height="{0}" style="fill:var(--{1})"/>'
_PLAIN_EDGES: Final = {ShardState.FAILED: 1.0, ShardState.GIVEN_UP: 1.0}  # to stand out
_PLAIN_EDGE: Final = 0.8  # of the others: a gap shows where a cell ends


def pattern_of(cell: int) -> str:
    """Prefix of the patterns for cells of so many pixels."""
    return _MARKED if cell >= _LEAST_MARKED else _PLAIN


def patterns() -> str:
    """Patterns of one cell for each state, with its mark and without."""
    own = (
        f'<pattern id="{kind}-{STATES[state][0]}" y="-.5" width="1" height="1" '
        f'patternUnits="userSpaceOnUse">{sign}</pattern>'
        for state in STATES
        for kind, sign in ((_MARKED, _sign(state)), (_PLAIN, _plain_sign(state)))
    )
    return f"<defs>{''.join(own)}</defs>"


def legend(maps: Sequence[CoverageMap]) -> str:
    """Each state that occurs with its sign, and how many shards are in it."""
    numbers = {
        state: sum(int((one.ranks == rank).sum()) for one in maps)
        for rank, state in enumerate(SEVERITY, 1)
    }
    shown = "".join(
        f"<span>{_chip(state)}{escaped(str(state))} {count(numbers[state])}</span>"
        for state in STATES
        if numbers[state]
    )
    return f'<p class="key">{shown}</p>'


def _chip(state: ShardState) -> str:
    size = f' style="width:{_SIGN_PIXELS}px" class="chip"'
    return svg.image(1, 1, str(state), _sign(state), size)


def _sign(state: ShardState) -> str:
    mark = _MARKS[state]
    return _BOX.format(STATES[state][0]) + (_MARK.format(mark) if mark else "")


def _plain_sign(state: ShardState) -> str:
    return _PLAIN_BOX.format(_PLAIN_EDGES.get(state, _PLAIN_EDGE), STATES[state][0])
