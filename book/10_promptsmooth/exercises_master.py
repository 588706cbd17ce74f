# %% [markdown] tags=["exercise-only"]
# # Exercises: prompts, steps and what a radius rests on
#
# Seven small functions. Replace each `...` and run the check below it: it says what is wrong, not only that
# something is. None needs a model or data. [The solutions](solutions.ipynb) come with the mistakes people make.

# %% [markdown] tags=["solution-only"]
# # Solutions: prompts, steps and what a radius rests on
#
# One solution for each of [the exercises](exercises.ipynb), why it is so, and the mistakes that the checks know.

# %%
import numpy as np
from scipy.special import entr, softmax
from scipy.stats import beta, norm

from medadv.course.ch10 import checks

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 8}
# ## 1. Marginal entropy
#
# PromptSmooth's zero-shot variant tunes the prompt on T noisy copies ("views") of one image, without a label.
# Return its loss, the {term}`marginal entropy` in nats, from the `logits` (T, K) of the views.

# %% [markdown] tags=["hint"]
# First the softmax of each view, then the mean over the views, then one entropy. The order is the point.

# %% [markdown] tags=["hint"]
# `entr(p)` is $-p\ln p$, and 0 at $p = 0$, where `np.log` has nothing to say.


# %% tags=["exercise"]
def marginal_entropy(logits):
    """Return the entropy of the mean answer to T views, logits (T, K)."""
    # SOLUTION
    mean = softmax(logits, axis=1).mean(axis=0)
    return entr(mean).sum()
    # END SOLUTION


checks.q1(marginal_entropy)

# %% [markdown] tags=["solution-only"]
# **Why.** The entropy of the mean is small only if the views are sure *and* agree. Two sure views that contradict
# each other have entropy 0 each; their mean has $\ln 2$. The loss knows no label: it makes the prompt agree with
# itself, right or wrong {cite:p}`zhang2022memo`.
#
# **Frequent mistakes.** The mean of the entropies, which sees no disagreement. The entropy of the mean logits, in
# which one view that shouts outvotes many. Softmax over the views instead of the classes. Base 2.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 12}
# ## 2. One step of AdamW
#
# PromptSmooth takes **one** step of AdamW from a fresh start, with learning rate 0.005. Return the context after
# this step, for any `gradient`, `lr` and weight `decay`. Both averages of Adam start at zero and are corrected for
# that; epsilon is 1e-8; the decay is *decoupled* {cite:p}`kingma2015adam,loshchilov2019adamw`.

# %% [markdown] tags=["hint"]
# After one step the corrected averages are the gradient itself and its square. What is $g / \sqrt{g^2}$?

# %% [markdown] tags=["hint"]
# Decoupled decay does not go through Adam: it multiplies the context by `1 - lr * decay`, before the step.


# %% tags=["exercise"]
def first_step(context, gradient, lr, decay):
    """Return the context (M, D) after the first step of AdamW."""
    # SOLUTION
    return context * (1 - lr * decay) - lr * gradient / (np.abs(gradient) + 1e-8)
    # END SOLUTION


checks.q2(first_step)

# %% [markdown] tags=["solution-only"]
# **Why.** The first step of Adam is a sign step: every number of the context moves by `lr`, whatever the loss says
# about how much (only a gradient near epsilon does less). Hence the scale of the loss changes nothing, and `lr`
# alone sets how far each test image moves its own prompt. It is FGSM, with the prompt in place of the image.
#
# **Frequent mistakes.** A step in proportion to the gradient. No correction of the averages: the step becomes
# $0.1 / \sqrt{0.001} \approx 3.2$ times as long. The decay added to the gradient (Adam with L2), where the sign
# swallows it. No decay at all, which at the published numbers nobody notices: it takes 0.005 % off.

# %% [markdown] about={"difficulty": 4, "importance": 5, "minutes": 15}
# ## 3. The overclaim, exactly
#
# One number is the image: $f_P(z) = 1$ if $z > P$, else 0, and $P = 0$ before tuning. Shown `x`, the system first
# moves $P$ by `step` in the direction in which the entropy of its vote under noise `sigma` falls, and then
# certifies $f_P$ as if $P$ had always been there. Return two radii: the one it **claims**, with votes without end,
# and the **true** one: how far it is to the nearest image that the system, *which tunes itself there anew*, puts
# into the other class. `x` is not 0.

# %% [markdown] tags=["hint"]
# A vote is clear, and its entropy small, when the threshold is far from `x`. So where does $P$ go for positive `x`?

# %% [markdown] tags=["hint"]
# Claimed: $\sigma\,\Phi^{-1}(p)$, where $p$ is the share of votes for the winner with the moved threshold. True:
# write down the class of any $x'$ after its *own* step. On which $x'$ does it change?


# %% tags=["exercise"]
def overclaim(x, step, sigma):
    """Return (claimed radius, true radius) of the system that tunes itself at x."""
    # SOLUTION
    threshold = -step * np.sign(x)
    p = norm.cdf(np.abs(x - threshold) / sigma)
    claimed = sigma * norm.ppf(p)
    true = np.abs(x)
    return claimed, true
    # END SOLUTION


checks.q3(overclaim)

# %% [markdown] tags=["solution-only"]
# **Why.** The threshold flees from `x`, whichever side that is on, and takes its step with it into the radius:
# claimed $|x|$ plus `step`. Shown $x'$ on the other side of 0, the system flees the other way. So its class is the
# sign of $x'$, as if it had never tuned itself, and the true radius is $|x|$. The claim is too large by `step`
# **for every image**, right or wrong, while accuracy stays as it was. Sigma cancels: no amount of noise mends it.
# Certificates that choose sigma for each image have the same fault {cite:p}`sukenik2022input`.
#
# **Frequent mistakes.** Both radii with the moved threshold: that is the certificate of the prompt frozen at `x`,
# true of a system that nobody uses. A threshold that moves towards `x`. A signed distance for negative `x`.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 10}
# ## 4. Many heads, one bank
#
# `features` (n, D) are the embeddings of n noisy copies of one image, computed once. `weights` (V, K, D) are the
# class embeddings of V prompts. Return the counts (V, K): how many copies each head gives to each class.

# %% [markdown] tags=["hint"]
# A vote is the class of the largest dot product of **one** copy, for **one** head.

# %% [markdown] tags=["hint"]
# `np.einsum("nd,vkd->vnk", features, weights)` gives all logits; `np.bincount(labels, minlength=K)` counts. A loop
# over the heads is fine.


# %% tags=["exercise"]
def count_votes(features, weights):
    """Return the votes (V, K) of V heads on one bank of embeddings."""
    # SOLUTION
    labels = np.einsum("nd,vkd->vnk", features, weights).argmax(axis=2)
    return np.stack([np.bincount(own, minlength=weights.shape[1]) for own in labels])
    # END SOLUTION


checks.q4(count_votes)

# %% [markdown] tags=["solution-only"]
# **Why.** The image tower knows nothing of prompts {cite:p}`nirala2024ovc`, so the bank serves every fixed head,
# and each certificate is what a run of its own would have given. Heads compared on one bank share their luck
# ({term}`common random numbers`), which makes differences clearer. What may *not* be done: choose or tune a head on
# the bank that then certifies it.
#
# **Frequent mistakes.** The argmax of the mean logits, or sums of softmax: a binomial bound counts votes of 0 or 1.
# Shares in place of counts. The heads averaged into one.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 10}
# ## 5. Paying for further copies
#
# A head tunes itself within every vote on `copies` fresh copies with noise `further`, and then votes on one with
# noise `sigma`. The bound for the chosen class is `low`. Return the certified radius, 0 to abstain.

# %% [markdown] tags=["hint"]
# A vote is now a function of all its copies together. Each one shows where the image is, and what they show adds
# up: so do the *precisions*, one over the variance.

# %% [markdown] tags=["hint"]
# $1/s^2 = 1/\sigma^2 + T/\sigma_a^2$. With no further copies, $s$ must be `sigma`.


# %% tags=["exercise"]
def composed_radius(low, sigma, further, copies):
    """Return the radius of a head that sees several noisy copies in each vote."""
    # SOLUTION
    total = 1 / np.sqrt(1 / sigma**2 + copies / further**2)
    return max(0.0, total * norm.ppf(low))
    # END SOLUTION


checks.q5(composed_radius)

# %% [markdown] tags=["solution-only"]
# **Why.** The mean of all copies, weighted by their precisions, is one image with noise $s$, and it knows of the
# image all that the copies know. So the theorem holds with $s$ {cite:p}`lyu2024adaptive`. A hundred copies of the
# voting noise leave a tenth of the radius. For one copy of twice the noise it is 0.89.
#
# **Frequent mistakes.** Adding variances, as if more copies hid the image better. Multiplying the radius by
# $\sqrt{T + 1}$: averaging does make votes clearer, but that is in `low` already. Charging one copy of the T.
# Forgetting that one set of copies for *all* votes is not covered, at any price.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 10}
# ## 6. What does an audit prove?
#
# You attack the certified balls of `attacked` images, drawn at random, and break `broken` of them. Return the exact
# upper limit of the share of all such certificates that this attack would break, one-sided, at confidence
# `1 - alpha`.

# %% [markdown] tags=["hint"]
# Clopper and Pearson again, from above: for which share would `broken` or fewer be as rare as `alpha`?

# %% [markdown] tags=["hint"]
# The `1 - alpha` quantile of a beta law with parameters `broken + 1` and `attacked - broken`; if all are broken the
# limit is 1.


# %% tags=["exercise"]
def at_most(broken, attacked, alpha):
    """Return the exact upper limit of the share that the attack breaks."""
    # SOLUTION
    if broken == attacked:
        return 1.0
    return beta.ppf(1 - alpha, broken + 1, attacked - broken)
    # END SOLUTION


checks.q6(at_most)

# %% [markdown] tags=["solution-only"]
# **Why.** "None of 14 broken" means: at most 19 % at 95 % confidence; for at most 1 % none of 299 is needed. And
# the limit is about *this* attack; a stronger one may break more. An audit refutes certificates, it never proves
# them. One broken ball refutes little too: a sound certificate may be wrong with chance alpha, and the vote test at the
# attacked point errs with a chance of its own. Compare the share with both.
#
# **Frequent mistakes.** The observed share. The normal limit, which is 0 after 0 of 14. The {term}`rule of three` where
# there are few images (3/14 is 21 %), or where something was broken. The two-sided interval.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 8}
# ## 7. What does a run cost?
#
# In one call you certify, on one image with `n0` and `n` votes: `heads` fixed heads, one that tunes itself once on
# `views` noisy copies of the image, and one that tunes itself within **each** vote on `copies` fresh ones (0 means
# there is no such head). All share one model. Return how many noisy images go through the image tower.

# %% [markdown] tags=["hint"]
# Which of the copies can be shared, and by which heads? What must be fresh for each vote?

# %% [markdown] tags=["hint"]
# The votes that choose the class are votes, too.


# %% tags=["exercise"]
def passes(n0, n, heads, views, copies):
    """Return the number of passes through the image tower for one image."""
    # SOLUTION
    votes = n0 + n
    return votes + views + votes * copies
    # END SOLUTION


checks.q7(passes)

# %% [markdown] tags=["solution-only"]
# **Why.** Any number of fixed heads costs what one costs. Tuning on the image is 100 passes beside 10,100 (and one
# of the text tower, there and back), nearly free; its price is the guarantee. Fresh copies within the votes double
# the cost at the least. A head that tunes itself on the vote's *own* copy costs nothing here and keeps the full
# radius.
#
# **Frequent mistakes.** A bill for each head. A clock that starts after the tuning. One set of copies for all
# votes, which is cheap and not covered. No fresh copies for the votes that choose the class.
