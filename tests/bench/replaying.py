"""One trace, answered by each contender in turn: upstream calls, latencies, and that all said the same."""

from collections import Counter
from collections.abc import Callable, Sequence

import uvloop

from tests.bench import contenders
from tests.bench.client import Timed, client, replay
from tests.bench.contenders import Contender
from tests.bench.floor import least_calls
from tests.bench.machine import Machine
from tests.bench.results import SHARES, Replayed, Trace
from tests.bench.stats import percentile
from tests.bench.trace import Shape, Step, listeners, rated, steps
from tests.bench.upstream import Upstream

GATEWAY = "gateway"
SEED = 20_260_101
PATIENCE = 0.050
"""What the floor lets a miss wait for company: a little more than a call, as long as the gateway may."""


def measure(machine: Machine, upstream: Upstream, *, shape: Shape, tell: Callable[[str], None]) -> Trace:
    """Replay one trace against everybody. Raises `RuntimeError` where their answers differ."""
    users = listeners(shape.users, SEED)
    for user in users:
        upstream.add_user(user.token, **rated(user))
    trace = steps(shape, users, SEED)
    upstream.be_late()
    replayed = []
    for start in _starters(machine, upstream, shape.fresh_seconds):
        replayed.append(_replay(start(), upstream, trace))
        tell(f"trace: {replayed[-1].name}: {replayed[-1].calls} calls, p50 {replayed[-1].p50 * 1e3:.1f} ms")
    said = {(one.ratings, *sorted(one.statuses.items())) for one in replayed}
    if len(said) > 1:
        raise RuntimeError(f"the contenders answered differently: {said}")
    return Trace(
        seconds=shape.seconds,
        users=shape.users,
        requests=len(trace),
        ids=sum(len(step.ids) for step in trace),
        fresh_seconds=shape.fresh_seconds,
        least_calls=least_calls(trace, fresh_seconds=shape.fresh_seconds, patience=PATIENCE),
        patience=PATIENCE,
        replayed=replayed,
    )


def _starters(machine: Machine, upstream: Upstream, fresh: int) -> list[Callable[[], Contender]]:
    missing = contenders.missing()
    settings = {"cache__fresh_seconds": fresh, "cache__stale_while_revalidate_seconds": fresh}
    starters: list[Callable[[], Contender]] = [
        lambda: contenders.gateway(machine, upstream, GATEWAY, settings)
    ]
    if "nginx" not in missing:
        starters.append(lambda: contenders.nginx(machine, upstream, fresh=fresh, stale=fresh))
    if "varnishd" not in missing:
        starters.append(lambda: contenders.varnish(machine, upstream, fresh=fresh, stale=fresh))
    return [*starters, lambda: contenders.direct(upstream)]


def _replay(contender: Contender, upstream: Upstream, trace: Sequence[Step]) -> Replayed:
    before = upstream.calls()
    answers = uvloop.run(_answers(contender, trace))
    took = [answer.seconds for answer in answers]
    statuses = Counter(str(answer.status) for answer in answers)
    return Replayed(
        name=contender.name,
        calls=upstream.calls() - before,
        p50=percentile(took, 0.50),
        p99=percentile(took, 0.99),
        latencies=[percentile(took, share) for share in SHARES],
        statuses=dict(statuses),
        ratings=sum(answer.body.count(b'"value"') for answer in answers),
    )


async def _answers(contender: Contender, trace: Sequence[Step]) -> list[Timed]:
    async with client(contender.port, contender.headers, 64) as made:
        return await replay(made, ((step.moment, step.ask) for step in trace))
