"""What a report says: the numbers, the sentences about them, and both as JSON (`results.json`)."""

from dataclasses import asdict, dataclass
from typing import Any

from analysis.reporting.lights import Light, lights_of
from analysis.reporting.sentences import (
    flaw_warnings,
    judgement_warnings,
    simulation_remarks,
    true_verdict,
    undecided,
    verdicts_of,
)
from analysis.results.feedback_loop import ROUND_UNITS
from analysis.results.results import ArmMetrics, Judgement, Simulation
from analysis.statistics.comparison import LEVEL

INTERVAL = "relative, 95 % interval"
EFFECT_UNITS = {
    "control_mean": "the metric's unit",
    "treatment_mean": "the metric's unit",
    "lift": "relative (.02 = 2 %)",
    "low": INTERVAL,
    "high": INTERVAL,
    "difference": "the metric's unit",
    "difference_low": "the metric's unit, 95 % interval",
    "difference_high": "the metric's unit, 95 % interval",
    "error": "relative, standard error of the lift",
    "pvalue": "probability, two-sided",
    "pvalue_adjusted": "probability, two-sided",
    "detectable": "relative effect found with probability .80",
    "detectable_difference": "effect in the metric's unit found with probability .80",
    "variance_saved": "share of the variance",
    "chance_to_win": "probability, flat prior",
    "true_lift": "relative, all users",
    "margin": "relative",
    "n_control": "users",
    "n_treatment": "users",
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """Everything that the page, the Markdown, the terminal and `results.json` say.

    Attributes:
        simulation: None of a live test. manifest: how it came about, for the last section.
        partial: whether the run was interrupted.
        verdicts: a sentence per contender; of a twin run, what is true.
    """

    judgement: Judgement
    simulation: Simulation | None
    manifest: Json
    title: str
    partial: bool
    verdicts: list[str]
    true_verdicts: list[str]
    lights: list[Light]
    warnings: list[str]
    remarks: list[str]

    @staticmethod
    def of(
        judgement: Judgement,
        simulation: Simulation | None,
        manifest: Json,
        title: str,
        partial: bool = False,
    ) -> "Report":
        """With the sentences that follow from the numbers."""
        test = judgement.test
        true_effects = simulation.true_effects if simulation is not None else []
        remarks = list(test.remarks)
        if test.winsorize is not None:
            remarks.append(
                f"Totals are capped at the quantile {test.winsorize:g} of the users who have any:"
                f" {test.primary.label} of {judgement.capped} users are"
            )
        if judgement.lacking:
            remarks.append(f"not in this log: {', '.join(judgement.lacking)}")
        if simulation is not None:
            remarks += simulation_remarks(simulation.users, test)
        return Report(
            judgement=judgement,
            simulation=simulation,
            manifest=manifest,
            title=title,
            partial=partial,
            verdicts=verdicts_of(judgement),
            true_verdicts=[
                true_verdict(effect)
                for effect in true_effects
                if effect.metric == test.primary.name
            ],
            lights=lights_of(judgement, simulation, manifest.get("log")),
            warnings=[*test.warnings, *flaw_warnings(test.flaws), *judgement_warnings(judgement)],
            remarks=remarks,
        )

    @property
    def all_verdicts(self) -> list[str]:
        """Those of a live test, or the true ones; after what the log cannot tell."""
        found = self.simulation.sensitivity if self.simulation is not None else None
        open_ = undecided(found) if found is not None else []
        return open_ + (self.verdicts or self.true_verdicts)

    def as_json(self) -> Json:
        """Every number with its unit, and the sentences; plain dictionaries and lists."""
        judgement, test = self.judgement, self.judgement.test
        content: Json = {
            "verdicts": self.verdicts,
            "true_verdicts": self.true_verdicts,
            "confidence_level": LEVEL,
            "primary": test.primary.name,
            "control": test.control,
            "references": test.references,
            "effects": {
                "units": EFFECT_UNITS,
                "rows": [asdict(effect) for effect in judgement.effects],
            },
            "true_effects": {"units": {}, "rows": []},
            "arms": {
                "units": {
                    **{metric.name: metric.unit for metric in test.metrics.values()},
                    "clicks_per_page": "clicks per page",
                    "users": "count",
                },
                "rows": [_arm(arm) for arm in judgement.arms],
            },
            "warnings": self.warnings,
            "remarks": self.remarks,
            "sample_ratio": _or_none(judgement.sample_ratio),
            "sample_ratio_by_segment": [asdict(row) for row in judgement.sample_ratio_by_segment],
            "before_test": None,
            "pairs": [asdict(row) for row in judgement.pairs],
            "quantiles": [
                {"arm": row.arm, "quantile": row.quantile, **asdict(row.difference)}
                for row in judgement.quantiles
            ],
            "monitor": [asdict(row) for row in judgement.monitor],
            "over_time": [asdict(row) for row in judgement.over_time],
            "segments": asdict(judgement.segments),
            "flaws": [asdict(flaw) for flaw in test.flaws],
            "lights": [asdict(light) for light in self.lights],
            "partial": self.partial,
            "title": self.title,
            "manifest": self.manifest,
        }
        if judgement.before_test is not None:
            content["before_test"] = {"rows": [asdict(row) for row in judgement.before_test]}
        if judgement.sample_ratio_every_day is not None:
            content["sample_ratio_every_day"] = asdict(judgement.sample_ratio_every_day)
        return content | _simulated(self.simulation)


def _arm(arm: ArmMetrics) -> Json:
    pages = {} if arm.clicks_per_page is None else {"clicks_per_page": arm.clicks_per_page}
    return {"arm": arm.arm, "users": arm.users, **pages, **arm.values}


def _or_none(value: Any) -> Json | None:
    return None if value is None else asdict(value)


def _simulated(simulation: Simulation | None) -> Json:
    """What only a simulated run can tell."""
    if simulation is None:
        return {"users": {}, "rounds": None, "top_items": None}
    return {
        "true_effects": {
            "units": {"true_lift": "relative, all users"},
            "rows": [asdict(row) for row in simulation.true_effects],
        },
        "rounds": {"units": {**ROUND_UNITS, "lift": INTERVAL}, **asdict(simulation.rounds)},
        "top_items": {
            "units": {"share": "share of the arm's impressions"},
            "rows": [asdict(row) for row in simulation.top_items],
        },
        "users": simulation.users,
        "off_policy": _or_none(simulation.off_policy),
        "read_out": simulation.read_out,
        "deployed_days": simulation.deployed_days,
        "hardly_known": simulation.hardly_known,
        "sensitivity": _or_none(simulation.sensitivity),
        "offline": {
            "units": {"simulated": "primary metric per user", "lift": "relative"},
            "rows": [asdict(row) for row in simulation.offline],
        },
        "advantage": {
            "units": {"click_rate": "clicks per impression, rested users"},
            "rows": simulation.advantage,
        },
    }
