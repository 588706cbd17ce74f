"""What `medadv.evaluate` and `medadv.reports` show: functions, and modules that no function of the same name hides."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

import medadv
import medadv.evaluate
import medadv.reports
import medadv.reports.html

FACES = (medadv.evaluate, medadv.reports, medadv.reports.html)


def test_numbers_and_reports_are_imported_from_their_packages():
    from medadv.evaluate import accuracy, macro_auc, metrics
    from medadv.reports import Report, attacked, classification, report, robustness

    assert accuracy is metrics.accuracy is medadv.evaluate.accuracy
    assert macro_auc is metrics.macro_auc
    assert Report is report.Report is medadv.Report
    assert medadv.reports.head_report is classification.head_report
    assert attacked is robustness.attacked


@pytest.mark.parametrize(("face", "name"), [(face, name) for face in FACES for name in face._MODULES])
def test_a_module_is_a_module_whatever_was_imported_before(face, name):
    first = getattr(face, name)
    __import__(f"{face.__name__}.{name}")
    assert isinstance(first, types.ModuleType)
    assert getattr(face, name) is first


@pytest.mark.parametrize("face", FACES)
def test_every_name_is_there_and_no_function_hides_a_module(face):
    assert not set(face._HOME) & set(face._MODULES)
    assert set(dir(face)) == set(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'acuracy'"):
        _ = face.acuracy


def test_the_doctor_is_found_after_import_medadv_alone():
    asked = "import medadv; r = medadv.reports; r.doctor.doctor; r.attacked; medadv.evaluate.wilson(1, 2)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, timeout=300)


@pytest.mark.parametrize("name", medadv.evaluate._MOVED)
def test_a_report_is_still_found_at_its_old_place(name):
    with pytest.warns(FutureWarning, match=f"use medadv.reports.{name}"):
        old = getattr(medadv.evaluate, name)
    assert old is getattr(medadv.reports, name)


@pytest.mark.parametrize("name", ["evaluate import accuracy", "reports import Report"])
def test_a_number_and_a_table_cost_no_attack(name):
    asked = f"import sys; from medadv.{name}; sys.exit('medadv.attacks' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, timeout=300)
