# %% [markdown] tags=["exercise-only"]
# # Exercises: words, pixels, and both
#
# Six small functions. Replace each `...` and run the check below it: it says what is wrong, not only that
# something is. None needs a model or data. [The solutions](solutions.ipynb) come with the mistakes people make.

# %% [markdown] tags=["solution-only"]
# # Solutions: words, pixels, and both
#
# One solution for each of [the exercises](exercises.ipynb), why it is so, and the mistakes that the checks know.

# %%
import torch

from medadv.course.ch03 import checks

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 1. Within the budget of words?
#
# A text attack may exchange at most `words` words, must not add or drop any, and must leave protected
# words alone: none may *go*, and none may *come*. Split both texts at spaces and say whether the change is
# allowed. (No punctuation and no capitals here.)

# %% [markdown] tags=["hint"]
# Compare the two lists of words place by place. An empty list of changes is allowed.

# %% [markdown] tags=["hint"]
# "a nodule" to "no nodule" touches a protected word although the word that *was* there is harmless.


# %% tags=["exercise"]
def allowed(before, after, words, protected):
    """Return True if `after` is within reach of `before`; protected is a set of words."""
    # SOLUTION
    old, new = before.split(), after.split()
    if len(old) != len(new):
        return False
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    touched = any(a in protected or b in protected for a, b in changed)
    return len(changed) <= words and not touched
    # END SOLUTION


checks.q1(allowed)

# %% [markdown] tags=["solution-only"]
# **Why.** A budget of words is not a budget of meaning: left and right are one word apart. Protecting
# words is the cheap half of the rule; a label function, equal before and after, is the other half.
#
# **Frequent mistakes.** Comparing *sets* of words, so that two words may change places unseen; guarding
# only the words that go; letting a text become longer, after which every later word counts as changed.

# %% [markdown] about={"difficulty": 3, "importance": 4, "minutes": 10}
# ## 2. The word that the gradient points at
#
# Row $v$ of `table` is the embedding $E_v$ of token $v$. The text is `tokens`; row $i$ of `gradient` is the
# gradient of the loss with respect to the embedding in place $i$. To first order, putting token $b$ in place
# $i$ gains $(E_b - E_{t_i}) \cdot \nabla_i$. Return the place and the token of the largest gain.

# %% [markdown] tags=["hint"]
# `gradient @ table.T` holds $E_b \cdot \nabla_i$ for all places and tokens. What is missing differs by
# place, so it matters for the best place.

# %% [markdown] tags=["hint"]
# `divmod(int(gain.argmax()), gain.shape[1])` turns the number of a cell into its row and column.


# %% tags=["exercise"]
def best_flip(table, tokens, gradient):
    """Return (place, token) for table (V, D), tokens (L,) and gradient (L, D)."""
    # SOLUTION
    now = (table[tokens] * gradient).sum(dim=1, keepdim=True)
    gain = gradient @ table.T - now
    return divmod(int(gain.argmax()), len(table))
    # END SOLUTION


checks.q2(best_flip)

# %% [markdown] tags=["solution-only"]
# **Why.** One backward pass ranks every exchange of every word. It is a guess: a token is not an
# infinitesimal step away from another, so the best few are scored properly afterwards.
#
# **Frequent mistakes.** Forgetting what the present token already contributes; descending instead of
# ascending; stepping to the token *nearest* to $e + \nabla$, which depends on the length of the step.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 3. The set, not the pair
#
# Row $i$ of `image` should lose *all* its texts: `own[i, m]` says whether text $m$ is one of them. Return
# for each image what the attacker climbs: minus the mean cosine to its own texts. All rows are of unit
# length.

# %% [markdown] tags=["hint"]
# `(cosine * own).sum(1)` is the sum over the own ones. Images may have different numbers of texts.


# %% tags=["exercise"]
def set_loss(image, text, own):
    """Return the loss (B,) of image (B, D) against text (M, D) with own (B, M) bool."""
    # SOLUTION
    cosine = image @ text.T
    return -(cosine * own).sum(dim=1) / own.sum(dim=1)
    # END SOLUTION


checks.q3(set_loss)

# %% [markdown] tags=["solution-only"]
# **Why.** Fleeing from one caption can lead to another one of the same image (the third ring of the first
# lesson). The mean instead of the sum lets images with few captions count as much as the others.

# %% [markdown] about={"difficulty": 1, "importance": 5, "minutes": 5}
# ## 4. One attack, two success rates
#
# `clean[q]` says whether query $q$ was right before the attack, `attacked[q]` whether it is right after it.
# Return both rates that go by the name of attack success rate, in this order: the recall that was lost,
# over *all* queries (as Co-Attack counts), and the share of the queries *right before* that are wrong now
# (as SGA counts).


# %% tags=["exercise"]
def success_rates(clean, attacked):
    """Return a tensor (2,) of both rates from clean (Q,) bool and attacked (Q,) bool."""
    # SOLUTION
    drop = clean.double().mean() - attacked.double().mean()
    lost = (~attacked[clean]).double().mean()
    return torch.stack([drop, lost])
    # END SOLUTION


checks.q4(success_rates)

# %% [markdown] tags=["solution-only"]
# **Why.** The second is larger wherever the clean recall is below one. And some queries become right by
# accident: they lower the first rate and are invisible to the second.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 5. The worst case, query by query
#
# An attacker with a changed image and a changed text may use either, both, or none. Row $c$ of `right` says
# for case $c$ which queries are still right. Return the share of queries that survive whatever the attacker
# chooses.

# %% [markdown] tags=["hint"]
# The attacker chooses anew for every query. Is that the minimum of the four recalls?


# %% tags=["exercise"]
def worst_case(right):
    """Return the share of queries that are right in every row of right (C, Q) bool."""
    # SOLUTION
    return right.all(dim=0).double().mean()
    # END SOLUTION


checks.q5(worst_case)

# %% [markdown] tags=["solution-only"]
# **Why.** The minimum over the cases of their means lets the attacker choose once for everybody. Two attacks
# that each leave one half may leave nobody together.

# %% [markdown] about={"difficulty": 3, "importance": 4, "minutes": 10}
# ## 6. Twins are not mistakes
#
# Text $m$ was written for image `owner[m]` and has wording number `wording[m]`; equal numbers mean equal
# sentences. An image is right if the most similar text is one of its own **or reads the same as one of its
# own**. Return recall at 1 from images to texts.

# %% [markdown] tags=["hint"]
# Build `true[i, m]`: does image $i$ own some text with the wording of text $m$? A loop over the images is
# fine.


# %% tags=["exercise"]
def fair_recall(similarity, owner, wording):
    """Return recall at 1 of similarity (B, M) with owner (M,) and wording (M,)."""
    # SOLUTION
    best = similarity.argmax(dim=1)
    own = [wording[owner == i] for i in range(len(similarity))]
    right = [(wording[m] == mine).any() for m, mine in zip(best, own, strict=True)]
    return torch.stack(right).double().mean()
    # END SOLUTION


checks.q6(fair_recall)

# %% [markdown] tags=["solution-only"]
# **Why.** Two equal sentences have equal embeddings, so which of them comes first is a matter of the order
# of the rows. A count that depends on that measures the table, not the model. After an attack on texts the
# wordings must be numbered anew: a changed caption may have become somebody else's.
