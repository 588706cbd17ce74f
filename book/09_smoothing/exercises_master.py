# %% [markdown] tags=["exercise-only"]
# # Exercises: votes, bounds and radii
#
# Seven small functions. Replace each `...` and run the check below it: it says what is wrong, not only that
# something is. None needs a model or data. [The solutions](solutions.ipynb) come with the mistakes people make.

# %% [markdown] tags=["solution-only"]
# # Solutions: votes, bounds and radii
#
# One solution for each of [the exercises](exercises.ipynb), why it is so, and the mistakes that the checks know.

# %%
import numpy as np
from scipy.stats import beta, binom, norm

from medadv.course.ch09 import checks

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 1. From votes to a radius
#
# `count` of `n` fresh noisy copies were called by the class that had been chosen before. Return the certified
# L2 radius for noise `sigma` at failure probability `alpha`: the bound of Clopper and Pearson, read through
# the inverse of $\Phi$; 0 where the smoothed classifier must abstain.

# %% [markdown] tags=["hint"]
# The bound is the `alpha` quantile of a beta law with parameters `count` and `n - count + 1`; a beta law has
# no parameter 0.

# %% [markdown] tags=["hint"]
# `norm.ppf` of a bound below one half is negative. What does the smoothed classifier do then?


# %% tags=["exercise"]
def radius(count, n, sigma, alpha):
    """Return the certified radius, 0 to abstain."""
    # SOLUTION
    if count == 0:
        return 0.0
    low = beta.ppf(alpha, count, n - count + 1)
    return max(0.0, sigma * norm.ppf(low))
    # END SOLUTION


checks.q1(radius)

# %% [markdown] tags=["solution-only"]
# **Why.** The bound inverts the binomial law: it is the largest $p$ at which `count` votes or more would still be
# as rare as `alpha`. Nothing is approximated, so it holds at $p$ near 1, where certificates are made.
#
# **Frequent mistakes.** The share of votes in place of the bound, which overstates half of the time. The
# two-sided interval, which spends only half of alpha on the side that matters (`statsmodels` wants
# `2 * alpha` for this reason). A negative radius instead of abstaining.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 8}
# ## 2. How many votes does a radius take?
#
# Return the smallest `n` for which `n` **equal** votes certify the radius `r`. Fewer cannot, whatever the model.

# %% [markdown] tags=["hint"]
# For `n` equal votes the bound is `alpha ** (1 / n)`. It must reach $\Phi(r / \sigma)$.


# %% tags=["exercise"]
def votes_needed(r, sigma, alpha):
    """Return the smallest number of votes, all equal, that certifies r."""
    # SOLUTION
    return int(np.ceil(np.log(alpha) / norm.logcdf(r / sigma)))
    # END SOLUTION


checks.q2(votes_needed)

# %% [markdown] tags=["solution-only"]
# **Why.** $\Phi(r/\sigma)^n \le \alpha$. The number explodes: about four sigma is the end of what votes can
# do. For a longer radius use more noise. `norm.logcdf` keeps its digits where `log(cdf)` has none left.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 10}
# ## 3. Certified accuracy
#
# A log has one entry for each image: the true `label`, the certified class `predict` (-1 where it abstained) and
# the `radius`. Return the certified accuracy at `r`: the share of **all** images that are right with a radius of `r`
# or more.

# %% [markdown] tags=["hint"]
# What should an image count that abstained with radius 0, at `r = 0`?


# %% tags=["exercise"]
def certified_accuracy(label, predict, radius, r):
    """Return the certified accuracy at r of arrays (N,)."""
    # SOLUTION
    return np.mean((predict == label) & (radius >= r))
    # END SOLUTION


checks.q3(certified_accuracy)

# %% [markdown] tags=["solution-only"]
# **Why.** A certificate for a wrong class is worthless, and an abstention helps no patient. Dividing by the images
# that did not abstain makes a cautious model look perfect. The first paper counts `>=`, some later code `>`: at
# the plateau of a log that moves the whole curve.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 8}
# ## 4. What is a radius in grey levels?
#
# Return how many grey levels (0 to 255) *every* number of an image of `size` x `size` pixels and three channels may
# change at once within an L2 radius `r`.

# %% [markdown] tags=["hint"]
# If all $d$ numbers change by $\delta$, the L2 distance is $\sqrt d\,\delta$. What is $d$?


# %% tags=["exercise"]
def grey_levels(r, size):
    """Return the grey levels by which all numbers may change at once."""
    # SOLUTION
    return 255 * r / np.sqrt(3 * size * size)
    # END SOLUTION


checks.q4(grey_levels)

# %% [markdown] tags=["solution-only"]
# **Why.** At 64 pixels a radius of 0.25 allows 0.57 of a grey level everywhere, at 224 pixels 0.16. The same number
# means less on a larger image, so certificates of different resolutions cannot be compared by their radius.

# %% [markdown] about={"difficulty": 4, "importance": 5, "minutes": 15}
# ## 5. The price of a second look
#
# Somebody tests at `n1` votes; if that fails, draws on to `n2` votes in all and tests again, both times as if it were
# the only look. Return the exact chance of a false certificate for an image at `p = 1/2`. The counts `c1` and `c2`
# are those at which a look certifies.

# %% [markdown] tags=["hint"]
# Passing at the first look is one tail. For the second, sum over the counts `k < c1` at the first look: how likely is
# `k`, and how likely are the `c2 - k` further votes that are missing?

# %% [markdown] tags=["hint"]
# `binom.sf(m - 1, n, 0.5)` is the chance of `m` or more votes.


# %% tags=["exercise"]
def two_looks(n1, c1, n2, c2):
    """Return the chance that a fair coin passes at n1 votes or at n2."""
    # SOLUTION
    first = binom.sf(c1 - 1, n1, 0.5)
    k = np.arange(c1)
    later = binom.pmf(k, n1, 0.5) * binom.sf(c2 - k - 1, n2 - n1, 0.5)
    return first + later.sum()
    # END SOLUTION


checks.q5(two_looks)

# %% [markdown] tags=["solution-only"]
# **Why.** This is one step of the recursion behind group-sequential tests: carry the law of the count through the
# looks and drop what has already left. Adding the two tails counts the streams that pass twice; multiplying the
# chances of failing would need fresh votes at the second look.

# %% [markdown] about={"difficulty": 3, "importance": 5, "minutes": 10}
# ## 6. Which alpha was it?
#
# A log was made with `n` votes and noise `sigma`. Many images share its largest radius `top`. Return the alpha that
# was really used.

# %% [markdown] tags=["hint"]
# The plateau is where all votes agree: `top = sigma * norm.ppf(alpha ** (1 / n))`. Solve for alpha.


# %% tags=["exercise"]
def real_alpha(top, sigma, n):
    """Return the alpha that the plateau of a log implies."""
    # SOLUTION
    return norm.cdf(top / sigma) ** n
    # END SOLUTION


checks.q6(real_alpha)

# %% [markdown] tags=["solution-only"]
# **Why.** A log of 100,000 votes at sigma 0.25 that ends at 0.978 was made with alpha near 0.01, not 0.001, or with
# more votes than it says. Radii are printed with three digits, so alpha is known up to a factor; `audit_log` gives
# the range.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 8}
# ## 7. Certificates of mixed origin
#
# A colleague added noise `sigma` to images that had been *normalised* channel by channel with `std`, and reports
# `told = sigma * norm.ppf(bound)`. Return the radius in **pixels** that is really certified.

# %% [markdown] tags=["hint"]
# A perturbation moves the normalised image by `delta / std`, channel by channel. Which perturbation of a given size
# in pixels moves it furthest?


# %% tags=["exercise"]
def in_pixels(told, std):
    """Return the sound pixel radius for std (3,)."""
    # SOLUTION
    return told * np.min(std)
    # END SOLUTION


checks.q7(in_pixels)

# %% [markdown] tags=["solution-only"]
# **Why.** The certificate holds for normalised distances up to `told`. A pixel perturbation of length $r$ has a
# normalised length of at most $r / \min(\text{std})$, so $r = $ `told` $\cdot \min(\text{std})$ is safe; the mean
# over the channels is not. The colleague's number was too large by one over std.
