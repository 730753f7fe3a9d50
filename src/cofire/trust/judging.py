"""What the answers of a study amount to: which maps people prefer and trust, how sure that is, who is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import krippendorff
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cofire.errors import DataError, ResultError
from cofire.statistics import Interval, crossed_interval, exact_interval, wilson
from cofire.stored import Stored
from cofire.trust.answers import Answer, Person
from cofire.trust.design import Study

PAPER = {"AlexNet": 36.07, "VGG-16": 38.08}
"""Normalised reliability of the maps of both networks as P3 §4.2 prints it; all 12 people preferred VGG-16's."""
CLEAR = 2
"""Whoever rates the two maps so many points apart has a clear preference."""
_SCALE = 1.0, 5.0
_GAPS = -4.0, 4.0
_SHARES = 1 / 6, 5 / 6
"""The least and the most that a rating can be, and one of two ratings of both."""
WRONG_MAP = "chose an obviously wrong map"
CHANGED = "changed a clear preference when a pair came again"
UNFINISHED, SILENT = "did not finish", "did not answer anything"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement(Stored):
    """What people say of the maps of two networks, the second held against the first.

    Attributes:
        networks: Their names.
        people: Whose answers count.
        images: That they saw.
        left_out: For each who does not count, their id and why.
        preference: Share of votes for the second network; people and images both vary.
        by_answer: The same with the exact binomial interval, as though all answers were independent.
        by_person: Share of people who mostly prefer the second network, exact; None where all are
            torn.
        torn: How many prefer both equally often.
        with_all: The preference with those who were left out for their checks.
        by_method: The preference for each method.
        ratings: Mean reliability of both networks' maps, 1 to 5.
        rating_gap: How much more reliable the second network's maps are.
        shares: Of all points given, those of both networks.
        agreement: Krippendorff's alpha of votes (nominal) and of ratings (ordinal); None where
            nothing varies, or nobody saw what another one did.
        repeated: Share of repeated pairs with the same vote; None where there are none.
        simulated: Whether the raters are no people.
    """

    networks: tuple[str, str]
    people: int
    images: int
    left_out: tuple[tuple[str, str], ...]
    preference: Interval
    by_answer: Interval
    by_person: Interval | None
    torn: int
    with_all: Interval
    by_method: dict[str, Interval]
    ratings: tuple[Interval, Interval]
    rating_gap: Interval
    shares: tuple[Interval, Interval]
    agreement: tuple[float | None, float | None]
    repeated: Interval | None
    simulated: bool
    stored_as = "trust judgement"


def answers_table(study: Study, answers: Sequence[tuple[Person, Answer]]) -> pa.Table:
    """All answers as one table: a row for each, with what was said of which network and whether it counts.

    Args:
        study: What was asked.
        answers: As the database gives them.

    Raises:
        ResultError: One is no answer to what this study asks.
    """
    _check_asked(study, answers)
    rows = [_row(study, person, answer) for person, answer in answers]
    reasons = _left_out(study, rows)
    for row in rows:
        row["left_out"] = reasons.get(row["person"], "")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("person", "device")),
            ("place", pa.int16()),
            *((name, pa.string()) for name in ("kind", "image", "method", "left", "right")),
            ("chosen", pa.string()),
            *((name, pa.int8()) for name in ("left_rating", "right_rating")),
            ("preferred", pa.string()),
            *((name, pa.int8()) for name in ("first_rating", "second_rating")),
            ("seconds", pa.float64()),
            ("left_out", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def _check_asked(study: Study, answers: Sequence[tuple[Person, Answer]]) -> None:
    images = {one.image for one in (*study.pairs, *study.checks)}
    pairs = {(one.person, one.image, one.method) for _, one in answers if one.kind == "pair"}
    for person, one in answers:
        strange = one.image not in images or one.method not in study.methods
        alone = one.kind == "repeat" and (one.person, one.image, one.method) not in pairs
        if strange or alone:
            raise ResultError(
                f"an answer of '{person.id}' to {one.image!r} by {one.method!r}, which was not asked",
                "answers as cofire trust serve wrote them",
                "restore the database from a copy",
            )


def _row(study: Study, person: Person, answer: Answer) -> dict[str, Any]:
    maps = study.networks if answer.kind != "check" else ("right map", "wrong map")
    left_first = answer.left == "first"
    ratings = (answer.left_rating, answer.right_rating)
    sides = maps if left_first else maps[::-1]
    return {
        "person": person.id,
        "device": person.device,
        **{name: getattr(answer, name) for name in ("place", "kind", "image", "method", "chosen")},
        "left": sides[0],
        "right": sides[1],
        "left_rating": ratings[0],
        "right_rating": ratings[1],
        "preferred": sides[0 if answer.chosen == "left" else 1],
        "first_rating": ratings[0 if left_first else 1],
        "second_rating": ratings[1 if left_first else 0],
        "seconds": answer.seconds,
    }


def _left_out(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Who does not count, and why; fixed before anybody answered."""
    reasons: dict[str, str] = {}
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["person"], []).append(row)
    for person, own in of.items():
        seen = {(row["image"], row["method"]): row for row in own if row["kind"] == "pair"}
        again = [row for row in own if row["kind"] == "repeat"]
        if len(own) < len(study):
            reasons[person] = UNFINISHED
        elif any(row["preferred"] == "wrong map" for row in own):
            reasons[person] = WRONG_MAP
        elif any(_changed(seen[row["image"], row["method"]], row) for row in again):
            reasons[person] = CHANGED
    return reasons


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    gaps = [int(row["second_rating"] - row["first_rating"]) for row in (before, after)]
    return min(gaps) <= -CLEAR and max(gaps) >= CLEAR


@dataclass(frozen=True)
class _Said:
    """What people said, as arrays (people, images): 0 where nothing.

    Attributes:
        held: How often they said something.
        second: How often they preferred the second network's map.
        ratings: Of the first network's maps, and of the second's.
        people: Their ids.
    """

    held: Floats
    second: Floats
    ratings: tuple[Floats, Floats]

    @classmethod
    def of(cls, table: pa.Table, second: str) -> _Said:
        people = table["person"].dictionary_encode().combine_chunks().indices.to_numpy()
        images = table["image"].dictionary_encode().combine_chunks().indices.to_numpy()
        shape = (int(people.max()) + 1, int(images.max()) + 1)

        def summed(values: Any) -> Floats:
            found = np.zeros(shape)
            np.add.at(found, (people, images), np.asarray(values, np.float64))
            return found

        return cls(
            summed(np.ones(len(table))),
            summed(pc.equal(table["preferred"], second).to_numpy(zero_copy_only=False)),
            (summed(table["first_rating"].to_numpy()), summed(table["second_rating"].to_numpy())),
        )

    @property
    def preference(self) -> Interval:
        """Never narrower than of independent answers."""
        found, exact = self.over(self.second, self.held, 0.0, 1.0), self.by_answer
        return replace(found, low=min(found.low, exact.low), high=max(found.high, exact.high))

    @property
    def by_answer(self) -> Interval:
        return exact_interval(int(self.second.sum()), int(self.held.sum()))

    def over(self, sums: Floats, counts: Floats, least: float, most: float) -> Interval:
        """A ratio that can be from `least` to `most`, for other people and images.

        Where all said the same a bootstrap has no width: then, of others, as large a share may say
        anything as would rarely be missed by so few people or images (exact, at 95 %).
        """
        found = crossed_interval(sums, counts)
        if not found.known:
            return found
        low, high = found.low, found.high
        if np.isclose(low, high):
            fewest = min(counts.shape)
            others = 1 - exact_interval(fewest, fewest).low
            low, high = (found.value + others * (end - found.value) for end in (least, most))
        # That of few people by Student's t reaches beyond what can be.
        return replace(found, low=max(least, low), high=min(most, high))


def judge(
    study: Study, table: pa.Table, began: Sequence[str] = (), *, simulated: bool = False
) -> Judgement:
    """What the answers of a study amount to.

    Args:
        study: What was asked.
        table: What `answers_table` gives.
        began: Ids of all who agreed to take part, also of those without an answer.
        simulated: Whether nobody answered it but a program.

    Raises:
        DataError: Nobody's answers count yet.
    """
    second = study.networks[1]
    pairs = table.filter(pc.field("kind") == "pair")
    counted = pairs.filter(pc.field("left_out") == "")
    if not len(counted):
        raise DataError(
            f"answers of {len(pc.unique(table['person']))} people, none of whom finished and passed the checks",
            "one or more who did",
            "wait until somebody has finished",
        )
    said = _Said.of(counted, second)
    everybody = _Said.of(pairs.filter(pc.field("left_out") != UNFINISHED), second)
    points = said.ratings[0] + said.ratings[1]
    by_person = said.second.sum(axis=1) / said.held.sum(axis=1)
    decided = by_person[by_person != 0.5]
    reasons = dict.fromkeys(began, SILENT)
    reasons |= zip(table["person"].to_pylist(), table["left_out"].to_pylist(), strict=True)
    again = table.filter((pc.field("kind") == "repeat") & (pc.field("left_out") == ""))
    return Judgement(
        networks=study.networks,
        people=len(said.held),
        images=said.held.shape[1],
        left_out=tuple((person, why) for person, why in reasons.items() if why),
        preference=said.preference,
        by_answer=said.by_answer,
        by_person=exact_interval(int((decided > 0.5).sum()), len(decided))
        if len(decided)
        else None,
        torn=int((by_person == 0.5).sum()),
        with_all=everybody.preference,
        by_method={
            method: _Said.of(counted.filter(pc.field("method") == method), second).preference
            for method in study.methods
            if pc.any(pc.equal(counted["method"], method)).as_py()
        },
        ratings=(
            said.over(said.ratings[0], said.held, *_SCALE),
            said.over(said.ratings[1], said.held, *_SCALE),
        ),
        rating_gap=said.over(said.ratings[1] - said.ratings[0], said.held, *_GAPS),
        shares=(
            said.over(said.ratings[0], points, *_SHARES),
            said.over(said.ratings[1], points, *_SHARES),
        ),
        agreement=_agreement(counted, second),
        repeated=_same_again(counted, again),
        simulated=simulated,
    )


def _agreement(counted: pa.Table, second: str) -> tuple[float | None, float | None]:
    """Krippendorff's alpha over pairs of maps, of votes and of ratings."""
    votes: dict[tuple[str, str], dict[str, int]] = {}
    ratings: dict[tuple[str, str], dict[str, int]] = {}
    for row in counted.to_pylist():
        pair = f"{row['image']}\0{row['method']}"
        votes.setdefault((pair, ""), {})[row["person"]] = int(row["preferred"] == second)
        for which in ("first_rating", "second_rating"):
            ratings.setdefault((pair, which), {})[row["person"]] = row[which]
    people = pc.unique(counted["person"]).to_pylist()
    return _alpha(votes, people, "nominal"), _alpha(ratings, people, "ordinal")


def _alpha(
    said: Mapping[tuple[str, str], Mapping[str, int]],
    people: Sequence[str],
    level: Literal["nominal", "ordinal"],
) -> float | None:
    data = np.array([[of.get(person, np.nan) for of in said.values()] for person in people], float)
    shared = (~np.isnan(data)).sum(axis=0) > 1
    if not shared.any() or len(np.unique(data[:, shared][~np.isnan(data[:, shared])])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement=level))


def _same_again(pairs: pa.Table, again: pa.Table) -> Interval | None:
    if not len(again):
        return None
    before = {
        (row["person"], row["image"], row["method"]): row["preferred"] for row in pairs.to_pylist()
    }
    same = [
        before[row["person"], row["image"], row["method"]] == row["preferred"]
        for row in again.to_pylist()
    ]
    return wilson(sum(same) / len(same), len(same))
