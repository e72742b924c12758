"""All statistics of one column's pairs, as plain data that can be stored, with a hash of their inputs.

Belongs here: which statistics a column gets, and when a stored result is still valid. Does not belong here: the
statistics themselves, the texts of a table, and the storage of results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis.stats.describe import Counts, Floats, describe, top_share
from pipeline.analysis.stats.detection import (
    Judgement,
    find_artefacts,
    fit_adjusted,
    fit_raw,
    judge,
    vote,
)
from pipeline.analysis.stats.families import FamilyFits
from pipeline.analysis.stats.intervals import cluster_intervals, effective_clusters
from pipeline.analysis.stats.tails import (
    PowerLaw,
    generalized_pareto,
    hill,
    power_law,
    power_law_p_value,
    variance_in_doubt,
)
from pipeline.words import counted

METHOD = 2  # increase it when results change without a change of this folder or its libraries


@cache
def method_version() -> str:
    """Digest of the method: `METHOD`, the code of this folder, and the versions of the libraries that it calls."""
    digest = hashlib.sha256(repr((METHOD, version("numpy"), version("scipy"))).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Pairs:
    """A column to describe, fit and classify; no power-law p-value without a seed, no fit below `min_rows` rows."""

    values: Floats
    counts: Counts
    seed: int | None
    min_rows: int

    def key(self) -> str:
        """A hash of all inputs: equal keys have equal results."""
        return _key(("pairs", self.seed, self.min_rows), self.values, self.counts)

    def result(self) -> dict[str, Any]:
        """`columns` of the description, the `reason` of the verdict, and the fits by `treatments`.

        `treatments` is empty below `min_rows` rows, and holds only `raw` for a column without atoms and cap.

        Raises:
            ValueError: the pairs are malformed.
            ArithmeticError: a computation overflows.

        """
        values, counts = self.values, self.counts
        description = describe(values, counts)
        artefacts = find_artefacts(values, counts)
        enough = description.n >= self.min_rows
        measurable = enough and artefacts.cap_value is None
        gpd, gpd_p95 = (generalized_pareto(values, counts, share) if measurable else None for share in (0.90, 0.95))
        law = power_law(values, counts) if measurable else None
        fits = fit_adjusted(values, counts, artefacts) if enough else None
        weighed = vote(values, counts, artefacts, fits) if fits and fits.fits else None
        judgement = judge(artefacts, fits, weighed, gpd)
        if not enough:
            reason = f"only {counted(description.n, 'row')}, where a verdict needs {self.min_rows}"
            judgement = Judgement("too_few", reason)
        columns = asdict(description) | {
            "verdict": judgement.verdict,
            "heavy_weight": weighed.heavy_weight if weighed else None,
            # a Poisson number of observations has a total whose variance is the sum of their squares
            "month_variance_share_top_1": top_share(values**2, counts, 0.01) if values[0] >= 0 else None,
            "hill_xi_5": hill(values, counts, 0.05) if measurable else None,
            "hill_xi_10": hill(values, counts, 0.10) if measurable else None,
            "cv_unreliable": variance_in_doubt(gpd.xi if gpd else None),
            "gpd_xi_p90": gpd.xi if gpd else None,
            "gpd_xi_p95": gpd_p95.xi if gpd_p95 else None,
        }
        treatments = {}
        if fits:
            columns |= {
                "cap_value": artefacts.cap_value,
                "capped_share": artefacts.capped_share,
                "atoms": json.dumps([asdict(atom) for atom in artefacts.atoms]),
            }
            treatments["raw"] = _fitted(fit_raw(values, counts, artefacts) if artefacts.any else fits)
            if artefacts.any:
                treatments["adjusted"] = _fitted(fits)
        if law:
            columns |= self._power_law(law)
        return {"columns": columns, "reason": judgement.reason, "treatments": treatments}

    def _power_law(self, law: PowerLaw) -> dict[str, Any]:
        return {
            "csn_alpha": law.alpha,
            "csn_xmin": law.xmin,
            "csn_n": law.n,
            "csn_z_lognormal": law.z_lognormal,
            "csn_z_exponential": law.z_exponential,
            "csn_p": None if self.seed is None else power_law_p_value(self.values, self.counts, law, self.seed),
        }


@dataclass(frozen=True, eq=False)
class Clustered:
    """A column with the cluster of each row, for its intervals."""

    clusters: Counts
    values: Floats
    counts: Counts
    seed: int

    def key(self) -> str:
        """A hash of all inputs: equal keys have equal results."""
        return _key(("clusters", self.seed), self.clusters, self.values, self.counts)

    def result(self) -> dict[str, Any]:
        """`intervals`, the low and high of each quantity (null or missing without one), and the number of clusters.

        `effective_clusters` is how many equally large ones they are worth.
        """
        intervals = cluster_intervals(self.clusters, self.values, self.counts, self.seed) or {}
        _, place = np.unique(self.clusters, return_inverse=True)
        rows = np.bincount(place, self.counts)
        return {
            "intervals": {name: interval and [interval.low, interval.high] for name, interval in intervals.items()},
            "clusters": len(rows),
            "effective_clusters": effective_clusters(rows),
        }


def compute(task: Pairs | Clustered) -> str:
    """The result of a task as JSON, which keeps every digit; `error` says why there is none."""
    try:
        result = task.result()
    except (ValueError, ArithmeticError) as error:
        result = {"error": ": ".join((type(error).__name__, *str(error).strip().splitlines()[:1]))}
    return json.dumps(result)


def _key(parameters: Sequence[object], *arrays: Floats | Counts) -> str:
    digest = hashlib.sha256(repr((method_version(), *parameters)).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {len(array)} ".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _fitted(fits: FamilyFits) -> dict[str, Any]:
    """Fits of one treatment, each a row of the table; the best one's row has the comparison with the second best."""
    zeros = f"{counted(fits.excluded, 'observation')} of zero left out" if fits.excluded else ""
    rows = []
    for fit in fits.fits if fits.status != "too_few" else ():
        row = asdict(fit)
        rows.append(row | {"params": json.dumps(row["params"], allow_nan=False)})
    if rows and fits.comparison:
        rows[0] |= {
            "compared_with": fits.comparison.second,
            "comparison": fits.comparison.method,
            "comparison_statistic": fits.comparison.statistic,
            "comparison_p": fits.comparison.p_value,
        }
    return {"n": fits.n, "notes": [fits.note, zeros], "rows": rows}
