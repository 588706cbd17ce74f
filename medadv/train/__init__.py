"""Training: one loop (`fit`), and steps that say what is learnt; adaptation to data of your own is in `train.adapt`."""

from medadv.train.adapt import Adapted, Folds, cross_validate, load_adapted, save_adapted
from medadv.train.loop import History, Step, draws, fit, learning_rate
from medadv.train.pretrain import contrastive, info_nce
from medadv.train.smoothing import Denoised, Denoiser, denoise_step, noisy_step
from medadv.train.supervised import balanced_step, same_text_contrastive

__all__ = [
    "Adapted",
    "Denoised",
    "Denoiser",
    "Folds",
    "History",
    "Step",
    "balanced_step",
    "contrastive",
    "cross_validate",
    "denoise_step",
    "draws",
    "fit",
    "info_nce",
    "learning_rate",
    "load_adapted",
    "noisy_step",
    "same_text_contrastive",
    "save_adapted",
]
