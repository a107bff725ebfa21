"""Attributes a failed call to an id, a user, a connection, the developer token or Apple. Pure.

Everything that reacts to a failure (retries, breaker, quarantine, renewal, stale ratings, metrics) reads the
`Verdict`; nothing else looks at a status. The first row that matches applies. "Divide" asks for the ids of
the call in two halves. "Refused": nothing stale stands in. "Failed" is a 5xx, an answer that cannot be read
as ratings, a 404 for ids that does not mean "unrated", or no answer to a call that was sent: a bad id can
cause each of them. The breaker never counts such a 404 (`Verdict.spares_breaker`). Where a row would divide
it, the last row applies if a call for the same type was divided lately, and nothing of it was answered
(`Evidence.divided_in_vain`).

If neither half is answered, a few ids of the call are asked for by themselves, chosen at random, and if none
of them is answered, the division ends: an outage must not multiply the calls (`Division.sample`).

came back                  asked, evidence                             cause            verdict
-------------------------- ------------------------------------------- ---------------- -------------------
ended by the deadline                                                  deadline
kept connection broke      may be sent twice, was not yet              connection       repeat at once
no connection                                                          Apple            counted, repeat
all but 401, 403, 429      it carries riders                           Apple            not counted, drop them
401                        developer token accepted since              user             refused, quarantine
401                                                                    developer token  renew, repeat
403 40300                                                              user             refused, quarantine
403 with another code                                                  request          refused
403 without envelope                                                   Apple            not counted
404 with envelope          repeated DELETE                             request          refused, done
404 with envelope                                                      request          refused
404 without envelope       read without ids                            Apple            not counted, repeat
404 without envelope       write                                       Apple            not counted
408                                                                    Apple            not counted, divide
429                                                                    throttled        paced repeat
400 40015                                                              user             refused
4xx, other parameter                                                   request          refused
4xx                        ids remembered                              id               refused
4xx                        several ids, all refused alike before       request          refused
4xx                        several ids                                 id               refused, divide
4xx                        one id, variant answered                    id               refused
4xx                                                                    request          refused
504, or none in time       may be too large                            Apple            counted, divide
answer too large           several ids, not remembered                 Apple            counted, divide
JSON of another shape      with parameters that only Apple knows       request
failed                     ids remembered                              id               not counted
failed                     user isolated; several ids                  user             not counted, divide
failed                     user isolated, not answered since           user             isolate, not counted
failed                     several ids, the probe of a breaker         id               counted, divide
failed                     single try, own call answered in between    id               not counted, divide
failed                     single try                                  Apple            counted, divide
none in time again         several ids                                 id               counted, divide
failed                     not the last try                            Apple            counted, repeat
failed                     several ids                                 id               counted, divide
failed                     one id, own call answered between failures  id               not counted any more
failed                     user failed three times, others did not     user             isolate, as above
failed                     one id, others answered                     id               not counted any more
failed                                                                 Apple            counted
"""

from enum import Enum
from typing import Final

import msgspec

from gateway.apple.symptom import Symptom
from gateway.errors import Cause

INVALID_AUTHENTICATION: Final = "40300"
NO_SUBSCRIPTION: Final = "40015"
TRANSIENT: Final = frozenset({500, 502, 503, 504})
"""Statuses after which the same call may well succeed."""
FAILED_CALLS: Final = 3
"""Calls of a user that fail in a row while others are answered between them, before the user is isolated: two
may be due to two short outages."""


class Asked(msgspec.Struct, frozen=True):
    """What was asked, and how often before."""

    ids: int = 0
    """Ids that the call asked for in Apple's form with many; 0 for everything else."""
    read: bool = False
    deletes: bool = False
    idempotent: bool = False
    """Whether sending it twice does what sending it once does, also with other writes between."""
    other_parameters: bool = False
    """Whether it has parameters that may make the answer something other than a list of ratings."""
    divisible: bool = False
    """Whether it may be too large, so that a 504, or no answer in time, is not repeated but divided at once.
    A fragment that fails so again was small enough."""
    riders: bool = False
    """Whether it carries riders: cached ids in its free seats that no request asked for."""
    reconnected: bool = False
    """Whether it was repeated on a new connection already."""
    repeated: bool = False
    """Whether it was repeated after a wait already."""
    single_try: bool = False
    """Whether it has one try, besides 429s and lost connections: a fragment, or ids that failed before."""
    last: bool = False
    """Whether this was the last try."""


class Evidence(msgspec.Struct, frozen=True):
    """What other calls showed recently."""

    token_accepted: bool = False
    """Apple accepted the same developer token in a call begun after this one."""
    refused_alike: bool = False
    """Every fragment of such a call of this user, type and variant was refused alike within ten minutes."""
    remembered: bool = False
    """Each of the ids is remembered as failing for this user. Or the one id failed for any user, and
    calls of any user were answered since. For a write: one of the same id failed within a minute, and other
    calls of the user were answered since."""
    isolated: bool = False
    """The user was isolated, and no call of theirs was answered since."""
    own_answered: bool = False
    """Another call of the user was answered that began between two failures of this one: after the first,
    and before the last try that failed. One begun earlier may be from before an outage."""
    variant_answered: bool = False
    """A call of this user, type and variant was answered within ten minutes."""
    others_answered: bool = False
    """A call of another user for the same type was answered that began between two failures of this one."""
    others_failing: bool = False
    """Most of the other users fail."""
    probing: bool = False
    """The call is the probe of a half-open breaker."""
    divided_in_vain: bool = False
    """Within ten seconds, a call for the same type was divided, and nothing of it was answered. It was the
    user's; or another user's, and no read of the type that began since was answered."""
    failed_calls: int = 0
    """Calls of the user that failed in a row, this one included. Several for the same id count once, and so
    do several without an answer to another user's call for the same type between them."""


class Retry(Enum):
    """How the call is repeated."""

    NEVER = 0
    AT_ONCE = 1
    """On a new connection, outside the retry budget."""
    RENEWED = 2
    """With a new developer token."""
    PACED = 3
    """When the concurrency limiter grants a slot: the call was not served."""
    BACKED_OFF = 4
    """After a wait, within the retry budget."""


class Verdict(msgspec.Struct, frozen=True):
    """What a failure is attributed to, and what follows."""

    cause: Cause = Cause.APPLE
    counts: bool = False
    """Whether it counts as Apple's failure; other verdicts count neither way."""
    spares_breaker: bool = False
    """Whether the breaker ignores it although it counts."""
    retry: Retry = Retry.NEVER
    refused: bool = False
    """Whether Apple answered that it does not do what was asked; else it failed, or was not reached."""
    quarantine: bool = False
    """Whether Apple refuses the user: not asked again for a while, and nothing stale."""
    isolate: bool = False
    """Whether Apple fails for this user alone: stale ratings, or this failure, answer for a while."""
    divide: bool = False
    """Whether the ids of the call are to be asked for in two halves."""
    drop_riders: bool = False
    """Whether a rider may be at fault: the call is repeated without riders."""
    done: bool = False
    """Whether it shows that an earlier try succeeded."""

    @property
    def stale_allowed(self) -> bool:
        """Whether stale ratings may stand in: for failures, not for refusals."""
        return not self.refused


def attribute(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """The verdict on a failed call; see the table above."""
    if symptom.cut_short:
        return Verdict(Cause.DEADLINE)
    if symptom.kept and asked.idempotent and not asked.reconnected:
        return Verdict(Cause.CONNECTION, retry=Retry.AT_ONCE)
    if not symptom.sent:
        return Verdict(counts=True, retry=Retry.BACKED_OFF if asked.idempotent else Retry.NEVER)
    if asked.riders and symptom.status not in (401, 403, 429):
        return Verdict(drop_riders=True)
    if symptom.status is None or (symptom.unusable and symptom.status not in (403, 404)):
        return _unreadable(symptom, asked, evidence)
    if symptom.status in (401, 403, 404):
        return _denied(symptom, asked, evidence)
    if symptom.status == 408:
        return Verdict(divide=asked.ids > 1)
    if symptom.status == 429:
        return Verdict(Cause.THROTTLED, retry=Retry.PACED)
    if 400 <= symptom.status < 500:
        return _refused(symptom, asked, evidence)
    return _failed(symptom, asked, evidence)


_REQUEST: Final = Verdict(Cause.REQUEST, refused=True)
_REFUSED_TOKEN: Final = Verdict(Cause.DEVELOPER_TOKEN, retry=Retry.RENEWED)
_REFUSED_USER: Final = Verdict(Cause.USER, refused=True, quarantine=True)
_UNCOUNTED_ID: Final = Verdict(Cause.ID)
_TOO_LARGE: Final = Verdict(counts=True, divide=True)
_DIVIDED: Final = Verdict(Cause.ID, counts=True, divide=True)


def _unreadable(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """No whole answer came, or one that is not a list of ratings."""
    too_large = symptom.too_large and asked.ids > 1 and not evidence.remembered
    if too_large or (symptom.timed_out and asked.divisible):
        return _TOO_LARGE
    if symptom.other_shape and asked.other_parameters:
        return Verdict(Cause.REQUEST)
    return _failed(symptom, asked, evidence)


def _denied(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """Apple, or the edge in front of it, answered 401, 403 or 404."""
    if symptom.status == 401:
        return _REFUSED_USER if evidence.token_accepted else _REFUSED_TOKEN
    if symptom.status == 404 and symptom.unusable and asked.ids:
        return _missing(symptom, asked, evidence)
    if symptom.status == 403 and symptom.code == INVALID_AUTHENTICATION and symptom.enveloped:
        return _REFUSED_USER
    if symptom.status == 404 and asked.deletes and asked.reconnected and symptom.enveloped:
        return Verdict(Cause.REQUEST, refused=True, done=True)
    if symptom.enveloped:
        return _REQUEST
    again = symptom.status == 404 and asked.read
    return Verdict(retry=Retry.BACKED_OFF if again else Retry.NEVER)


def _missing(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """Apple, or the edge in front of it, answered 404 for ids, which does not mean that they are unrated."""
    verdict = _failed(symptom, asked, evidence)
    if verdict.divide and evidence.divided_in_vain:
        # The edge may answer so to everything, and no breaker opens.
        verdict = Verdict(counts=True)
    return msgspec.structs.replace(verdict, spares_breaker=verdict.counts)


def _refused(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """Apple answered with another 4xx."""
    if symptom.code == NO_SUBSCRIPTION:
        return Verdict(Cause.USER, refused=True)
    if symptom.blamed not in (None, "ids") or not asked.ids:
        return _REQUEST
    if evidence.remembered:
        return Verdict(Cause.ID, refused=True)
    if asked.ids > 1:
        return _REQUEST if evidence.refused_alike else Verdict(Cause.ID, refused=True, divide=True)
    if evidence.own_answered or evidence.variant_answered:
        return Verdict(Cause.ID, refused=True)
    return _REQUEST


def _failed(symptom: Symptom, asked: Asked, evidence: Evidence) -> Verdict:
    """Apple failed, or an id or user makes it fail."""
    if symptom.status == 504 and asked.divisible:
        return _TOO_LARGE
    if evidence.remembered:
        return _UNCOUNTED_ID
    if evidence.isolated:
        # A bad id in each call of the user must not keep the user isolated.
        return Verdict(Cause.USER, isolate=asked.ids <= 1, divide=asked.ids > 1)
    if evidence.probing and asked.ids > 1 and not asked.single_try:
        return _DIVIDED
    if asked.last:
        return _failed_for_good(asked, evidence)
    if asked.single_try and evidence.own_answered:
        return Verdict(Cause.ID, divide=asked.ids > 1)
    if asked.single_try:
        return Verdict(counts=True, divide=asked.ids > 1)
    if symptom.timed_out and asked.repeated and asked.ids > 1:
        # The deadline leaves no time for all the tries and then for the halves.
        return _DIVIDED
    again = asked.read and (symptom.status is None or symptom.unusable or symptom.status in TRANSIENT)
    return Verdict(counts=True, retry=Retry.BACKED_OFF if again else Retry.NEVER)


def _failed_for_good(asked: Asked, evidence: Evidence) -> Verdict:
    """The last try failed."""
    if asked.ids > 1:
        return _DIVIDED
    if asked.ids == 1 and evidence.own_answered:
        return _UNCOUNTED_ID
    if evidence.others_failing:
        return Verdict(counts=True)
    if evidence.failed_calls >= FAILED_CALLS:
        return Verdict(Cause.USER, isolate=True)
    if asked.ids == 1 and evidence.others_answered:
        return _UNCOUNTED_ID
    return Verdict(counts=True)
