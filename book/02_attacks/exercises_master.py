# %% [markdown] tags=["exercise-only"]
# # Exercises: attacks
#
# Six small functions. Replace each `...` and run the check below it: it says what is wrong, not only that
# something is. None needs a model or data. [The solutions](solutions.ipynb) come with the mistakes people make.

# %% [markdown] tags=["solution-only"]
# # Solutions: attacks
#
# One solution for each of [the exercises](exercises.ipynb), why it is so, and the mistakes that the checks know.

# %%
import torch

from medadv.course.ch02 import checks

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 1. The strongest push on a linear reader
#
# A linear reader adds up `weight @ pixels`. Return the perturbation of size `eps` that raises this sum most, for
# the norms `"linf"`, `"l2"` and `"l1"`. Leave the box [0, 1] out.

# %% [markdown] tags=["hint"]
# In L-infinity every pixel has the whole budget to itself. In L1 all pixels share one budget: where is it spent best?

# %% [markdown] tags=["hint"]
# `weight.abs().argmax()` is the strongest pixel; its weight may be negative.


# %% tags=["exercise"]
def strongest(weight, eps, norm):
    """Return the perturbation (D,) of size eps that raises weight @ x most."""
    # SOLUTION
    if norm == "linf":
        return eps * weight.sign()
    if norm == "l2":
        return eps * weight / weight.norm()
    top = weight.abs().argmax()
    return eps * weight[top].sign() * (torch.arange(len(weight)) == top)
    # END SOLUTION


checks.q1(strongest)

# %% [markdown] tags=["solution-only"]
# **Why.** The sum grows by $w^\top\delta$. Under a bound on each pixel the pixels do not compete, so each takes
# its best end; under a bound on the length the direction of $w$ is best (Cauchy-Schwarz); under a bound on the
# sum of sizes every unit spent elsewhere than on the strongest pixel is worth less.
#
# **Frequent mistakes.** Forgetting to divide by the length in L2; taking `argmax` of the weight rather than of
# its size; spreading the L1 budget.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 2. One step of PGD
#
# From the point `x`, take a step of `size` along the sign of the gradient, then return to the L-infinity ball of
# radius `eps` around the `clean` image, and to the box [0, 1].

# %% [markdown] tags=["hint"]
# The ball is around `clean`, not around `x`: otherwise ten steps could go ten times as far.

# %% [markdown] tags=["hint"]
# `clean + (moved - clean).clamp(-eps, eps)` is the ball; `.clamp(0, 1)` is the box.


# %% tags=["exercise"]
def step(x, clean, gradient, eps, size):
    """Return the next point (B, 3, H, W) of projected gradient ascent."""
    # SOLUTION
    moved = x + size * gradient.sign()
    inside = clean + (moved - clean).clamp(-eps, eps)
    return inside.clamp(0, 1)
    # END SOLUTION


checks.q2(step)

# %% [markdown] tags=["solution-only"]
# **Why.** Ball first, then box: both are products of intervals in L-infinity, so cutting twice gives the nearest
# point of their intersection. In L2 the order matters; see `medadv.threat.Threat.project`.
#
# **Frequent mistakes.** Projecting around `x`; going down instead of up; leaving the box out, so that "attacked
# images" cannot be stored.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 15}
# ## 3. If you must attack after the normalisation
#
# A library hands you $z = (x - m)/s$. Return the lowest and the highest value that every entry of $z$ may take when
# pixels may move by `eps` and stay in [0, 1], stacked as `(2, B, 3, H, W)`.

# %% [markdown] tags=["hint"]
# `mean.view(3, 1, 1)` fits images of shape (B, 3, H, W).

# %% [markdown] tags=["hint"]
# Write both limits in pixels first. Normalising keeps their order, since every std is positive.


# %% tags=["exercise"]
def limits(image, eps, mean, std):
    """Return the limits (2, B, 3, H, W) after normalising image (B, 3, H, W)."""
    # SOLUTION
    pixels = torch.stack([(image - eps).clamp(min=0), (image + eps).clamp(max=1)])
    return (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    # END SOLUTION


checks.q3(limits)

# %% [markdown] tags=["solution-only"]
# **Why.** With these limits an attack in normalised space is the attack in pixel space. With a single `eps` for
# all channels, or with [0, 1] as the box, it is another attack, and nobody can say which.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 10}
# ## 4. A loss that does not go flat
#
# Return, for each image, the best *wrong* logit minus the true one. It is positive exactly where the attacker has won,
# and its gradient does not vanish where the model is sure.

# %% [markdown] tags=["hint"]
# `logits.scatter(1, label[:, None], -torch.inf)` hides the true class from a maximum.


# %% tags=["exercise"]
def margin(logits, label):
    """Return the best wrong logit minus the true one, (B,), from logits (B, K)."""
    # SOLUTION
    true = logits.gather(1, label[:, None])[:, 0]
    other = logits.scatter(1, label[:, None], -torch.inf).amax(dim=1)
    return other - true
    # END SOLUTION


checks.q4(margin)

# %% [markdown] tags=["solution-only"]
# **Why.** The gradient of the cross-entropy is weighted by the probability of the wrong classes. Multiply all
# logits by a thousand and that weight is zero in float32, although no answer has changed. The DLR loss divides the
# margin by the spread of the logits, so that even its size does not change.
#
# **Frequent mistakes.** Setting the true logit to 0 instead of minus infinity: if all others are negative it wins.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 5. The worst of several attacks, rightly counted
#
# `right` says which images were read rightly before any attack, `won[a]` where attack `a` won. Return robust
# accuracy (a share of all images) and attack success rate (a share of those that were right before).

# %% [markdown] tags=["hint"]
# An image stands if it was right before *and* no attack won.


# %% tags=["exercise"]
def count(right, won):
    """Return robust accuracy and success rate, (2,); right (B,), won (A, B)."""
    # SOLUTION
    standing = right & ~won.any(dim=0)
    success = 1 - standing.sum() / right.sum()
    return torch.stack([standing.float().mean(), success])
    # END SOLUTION


checks.q5(count)

# %% [markdown] tags=["solution-only"]
# **Why.** Different attacks break different images, so the minimum is taken image by image, not attack by attack. An
# image that was wrong before is not robust: a constant wrong answer would be unbeatable.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 10}
# ## 6. One finding under attack
#
# Every image was attacked twice: `away` is the answer after a push away from the truth, `toward` the answer
# after a push towards the finding `positive`. Return the sensitivity and the specificity that are left in the
# worst case.

# %% [markdown] tags=["hint"]
# Which of the two pushes hurts a patient who has the finding? Which one hurts a patient who has not?


# %% tags=["exercise"]
def reading(label, away, toward, positive):
    """Return sensitivity and specificity under attack, (2,)."""
    # SOLUTION
    ill = label == positive
    found = (away[ill] == positive).float().mean()
    spared = (toward[~ill] != positive).float().mean()
    return torch.stack([found, spared])
    # END SOLUTION


checks.q6(reading)

# %% [markdown] tags=["solution-only"]
# **Why.** An untargeted attack on a healthy image stops at *any* wrong class; calling an opacity a nodule is no
# false alarm of cardiomegaly. Only a push towards the finding shows how easily it is invented.
