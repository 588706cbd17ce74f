"""What `medadv.evaluate` shows: functions, and modules that no function of the same name hides."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import medadv
import medadv.evaluate as face


def test_metrics_and_reports_are_imported_from_the_package():
    from medadv.evaluate import Report, accuracy, macro_auc, metrics, report, study

    assert accuracy is metrics.accuracy is medadv.evaluate.accuracy
    assert macro_auc is metrics.macro_auc
    assert Report is report.Report is medadv.Report
    assert face.head_report is study.head_report


@pytest.mark.parametrize("name", face._MODULES)
def test_a_module_is_a_module_whatever_was_imported_before(name):
    first = getattr(face, name)
    __import__(f"medadv.evaluate.{name}")
    assert isinstance(first, types.ModuleType)
    assert getattr(face, name) is first


def test_every_name_is_there_and_no_function_hides_a_module():
    assert not set(face._HOME) & set(face._MODULES)
    assert set(dir(face)) == set(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'acuracy'"):
        _ = face.acuracy


def test_the_doctor_is_found_after_import_medadv_alone():
    asked = "import medadv; e = medadv.evaluate; e.doctor.doctor; e.attacked.attacked; e.wilson(1, 2)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, timeout=300)


def test_a_metric_costs_no_attack():
    asked = "import sys; from medadv.evaluate import accuracy; sys.exit('medadv.attacks' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, timeout=300)
