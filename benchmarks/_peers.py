"""The same attacks from other libraries, each as `run(model, image, label, *, eps, steps, seed) -> adversarial images`.

A library that is not installed is left out. torchattacks and adversarial-library cannot be installed beside this
project by their stated requirements (see README.md); `pip install --no-deps` gives what is needed here.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import torch
from torch import Tensor, nn

Run = Callable[..., Tensor]
DISTRIBUTIONS = {
    "torchattacks": "torchattacks",
    "adv_lib": "adv-lib",
    "pyautoattack": "pyautoattack",
    "foolbox": "foolbox",
    "ART": "adversarial-robustness-toolbox",
}


def versions() -> dict[str, str]:
    """Which of the libraries are here."""
    found = {}
    for distribution in DISTRIBUTIONS.values():
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


def get(module: str) -> ModuleType | None:
    """Import a library, or nothing where it is not installed."""
    if module.split(".")[0] == "adv_lib":
        # It imports a plotting client that no attack needs and that does not build with today's setuptools.
        sys.modules.setdefault("visdom", ModuleType("visdom"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about their own dependencies
        try:
            return importlib.import_module(module)
        except ImportError:
            return None


def peers(attack: str) -> dict[str, Run]:
    """The libraries that have this attack: fgsm, mifgsm, pgd, apgd-ce, apgd-dlr, square, standard.

    pgd takes the step eps / 4 everywhere, pgd-defaults the step and the start that each library has by default.
    """
    found: dict[str, Run] = {}
    if (ta := get("torchattacks")) is not None:
        found |= _torchattacks(ta, attack)
    if (al := get("adv_lib.attacks")) is not None:
        found |= _adv_lib(al, attack)
    if (aa := get("pyautoattack")) is not None:
        found |= _pyautoattack(attack, aa)
    if (fb := get("foolbox")) is not None:
        found |= _foolbox(fb, attack)
    if get("art") is not None:
        found |= _art(attack)
    return found


def _torchattacks(ta: ModuleType, attack: str) -> dict[str, Run]:
    make = {
        "fgsm": lambda model, eps, steps, seed: ta.FGSM(model, eps=eps),
        "mifgsm": lambda model, eps, steps, seed: ta.MIFGSM(model, eps=eps, alpha=eps / steps, steps=steps),
        "pgd": lambda model, eps, steps, seed: ta.PGD(model, eps=eps, alpha=eps / 4, steps=steps),
        "pgd-defaults": lambda model, eps, steps, seed: ta.PGD(model, eps=eps, steps=steps),
        "apgd-ce": lambda model, eps, steps, seed: ta.APGD(model, eps=eps, steps=steps, seed=seed, loss="ce"),
        "apgd-dlr": lambda model, eps, steps, seed: ta.APGD(model, eps=eps, steps=steps, seed=seed, loss="dlr"),
        "square": lambda model, eps, steps, seed: ta.Square(
            model, eps=eps, n_queries=steps, seed=seed, resc_schedule=True
        ),
    }.get(attack)
    if make is None:
        return {}

    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(model, eps, steps, seed)(image, label)

    return {"torchattacks": run}


def _adv_lib(al: ModuleType, attack: str) -> dict[str, Run]:
    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if attack == "pgd":
                return al.pgd_linf(model, image, label, eps, steps=steps, absolute_step_size=eps / 4)
            if attack == "pgd-defaults":
                return al.pgd_linf(model, image, label, eps, steps=steps)
            kind = attack.removeprefix("apgd-")
            return al.apgd(model, image, label, eps, norm=float("inf"), n_iter=steps, loss_function=kind)

    return {"adv_lib": run} if attack in ("pgd", "pgd-defaults", "apgd-ce", "apgd-dlr") else {}


def _pyautoattack(attack: str, aa: ModuleType) -> dict[str, Run]:
    from pyautoattack.autopgd_base import APGDAttack
    from pyautoattack.square import SquareAttack

    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        device = str(image.device)
        with torch.random.fork_rng(devices=[]):
            if attack == "standard":
                logging.getLogger("auto-attack").setLevel(logging.ERROR)
                whole = aa.AutoAttack(model, eps=eps, seed=seed, device=device)
                return whole.run_standard_evaluation(image, label, batch_size=len(image))[0]
            if attack == "square":
                one = SquareAttack(
                    model, n_queries=steps, eps=eps, seed=seed, loss="margin", resc_schedule=True, device=device
                )
            else:
                kind = attack.removeprefix("apgd-")
                one = APGDAttack(model, n_iter=steps, eps=eps, seed=seed, loss=kind, device=device)
            return one.perturb(image, label)

    return {"pyautoattack": run} if attack in ("apgd-ce", "apgd-dlr", "square", "standard") else {}


def _foolbox(fb: ModuleType, attack: str) -> dict[str, Run]:
    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        one = fb.attacks.FGSM()
        if attack == "pgd":
            one = fb.attacks.LinfPGD(abs_stepsize=eps / 4, steps=steps, random_start=True)
        if attack == "pgd-defaults":
            one = fb.attacks.LinfPGD(steps=steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            theirs = fb.PyTorchModel(model, bounds=(0, 1), device=image.device)
            return one(theirs, image, label, epsilons=eps)[1]

    return {"foolbox": run} if attack in ("fgsm", "pgd", "pgd-defaults") else {}


def _art(attack: str) -> dict[str, Run]:
    if attack not in ("fgsm", "mifgsm", "pgd", "pgd-defaults", "square"):
        return {}
    import numpy as np
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    def make(theirs: PyTorchClassifier, eps: float, steps: int, many: int):
        if attack == "fgsm":
            return evasion.FastGradientMethod(theirs, eps=eps, batch_size=many)
        if attack == "square":
            return evasion.SquareAttack(theirs, eps=eps, max_iter=steps, p_init=0.8, batch_size=many, verbose=False)
        shared = {"eps": eps, "max_iter": steps, "batch_size": many, "verbose": False}
        if attack == "mifgsm":
            return evasion.MomentumIterativeMethod(theirs, decay=1.0, eps_step=eps / steps, **shared)
        if attack == "pgd-defaults":
            return evasion.ProjectedGradientDescentPyTorch(theirs, **shared)
        return evasion.ProjectedGradientDescentPyTorch(theirs, eps_step=eps / 4, num_random_init=1, **shared)

    def run(model: nn.Module, image: Tensor, label: Tensor, *, eps: float, steps: int, seed: int) -> Tensor:
        theirs = PyTorchClassifier(
            model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(image.shape[1:]),
            nb_classes=int(label.max()) + 1,
            clip_values=(0, 1),
            device_type="gpu" if image.is_cuda else "cpu",
        )
        kept = np.random.get_state()  # noqa: NPY002  it draws from the global stream
        np.random.seed(seed)  # noqa: NPY002
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found = make(theirs, eps, steps, len(image)).generate(image.cpu().numpy(), label.cpu().numpy())
        finally:
            np.random.set_state(kept)  # noqa: NPY002
            for weight in model.parameters():
                weight.grad = None  # it leaves gradients in the weights
        return torch.from_numpy(found).to(image.device)

    return {"ART": run}


def minimal_peers() -> dict[str, Run]:
    """Minimal-norm L2 attacks, as `run(model, image, label, *, steps) -> adversarial images`."""
    found: dict[str, Run] = {}
    if (al := get("adv_lib.attacks")) is not None:
        # Its own default rounds to 256 levels, which the others do not.
        found["adv_lib ddn"] = lambda model, image, label, *, steps: al.ddn(
            model, image, label, steps=steps, levels=None
        )
        found["adv_lib fmn"] = lambda model, image, label, *, steps: al.fmn(model, image, label, norm=2, steps=steps)
    if (fb := get("foolbox")) is not None:

        def run(one, model: nn.Module, image: Tensor, label: Tensor, *, steps: int) -> Tensor:
            theirs = fb.PyTorchModel(model, bounds=(0, 1), device=image.device)
            return one(steps=steps)(theirs, image, label, epsilons=None)[1]

        found["foolbox ddn"] = partial(run, fb.attacks.DDNAttack)
        found["foolbox fmn"] = partial(run, fb.attacks.L2FMNAttack)
    return found
