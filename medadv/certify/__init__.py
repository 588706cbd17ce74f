"""Certification by randomized smoothing: `certify` many images for many heads, and read what logs really say.

Noise is added to pixels in [0, 1], before the model normalises; heads come from `medadv.models.head`, from learned
prompts, or are anything that maps pixels to logits. Every certificate says what it rests on (`GUARANTEES`).
"""

from __future__ import annotations

from medadv.certify.bounds import certified_radius, largest_radius, lower_bound, predict_votes, smallest_n
from medadv.certify.curves import (
    average_certified_radius,
    certified_accuracy,
    compare_accuracy,
    compare_radius,
    paired_power,
)
from medadv.certify.log_check import audit_log, infer_alpha
from medadv.certify.plans import radius_ladder, two_stage
from medadv.certify.promptsmooth import calibrate, few_shot, noisy_bank, shots_of
from medadv.certify.records import Certificate, as_log, merge_logs, read_log
from medadv.certify.sequential import anytime_test, group_sequential
from medadv.certify.shards import gather
from medadv.certify.smooth import certify, predict
from medadv.certify.soundness import strike
from medadv.certify.test_time import Composed, Inside, Routed, TestTime
from medadv.certify.votes import GUARANTEES

__all__ = [
    "GUARANTEES",
    "Certificate",
    "Composed",
    "Inside",
    "Routed",
    "TestTime",
    "anytime_test",
    "as_log",
    "audit_log",
    "average_certified_radius",
    "calibrate",
    "certified_accuracy",
    "certified_radius",
    "certify",
    "compare_accuracy",
    "compare_radius",
    "few_shot",
    "gather",
    "group_sequential",
    "infer_alpha",
    "largest_radius",
    "lower_bound",
    "merge_logs",
    "noisy_bank",
    "paired_power",
    "predict",
    "predict_votes",
    "radius_ladder",
    "read_log",
    "shots_of",
    "smallest_n",
    "strike",
    "two_stage",
]
