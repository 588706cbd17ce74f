# %% [markdown] tags=["exercise-only"]
# # Exercises: a Med-VLM from its parts
#
# Six small functions. Replace each `...` and run the check below it: it says what is wrong, not only that
# something is. None needs a model or data. [The solutions](solutions.ipynb) come with the mistakes people make.

# %% [markdown] tags=["solution-only"]
# # Solutions: a Med-VLM from its parts
#
# One solution for each of [the exercises](exercises.ipynb), why it is so, and the mistakes that the checks know.

# %%
import torch
import torch.nn.functional as F

from medadv.course.ch01 import checks

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 1. The contrastive loss
#
# Write the loss that trains a vision-language model. Row $i$ of `image` and row $i$ of `text` belong
# together; all other rows of the batch are wrong answers. Take the softmax over the texts for each image
# and over the images for each text, and return the mean of the two cross-entropies.

# %% [markdown] tags=["hint"]
# `scale * image @ text.T` is a $B \times B$ table. Which column should win in row $i$?

# %% [markdown] tags=["hint"]
# `F.cross_entropy(logits, own)` with `own = torch.arange(B)` does one direction; `logits.T` gives the
# other.


# %% tags=["exercise"]
def loss(image, text, scale):
    """Return the symmetric contrastive loss of unit image (B, D) and text (B, D)."""
    # SOLUTION
    logits = scale * image @ text.T
    own = torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    # END SOLUTION


checks.q1(loss)

# %% [markdown] tags=["solution-only"]
# **Why.** One direction alone lets a model ignore half of its mistakes: with image-to-text only, a text
# that is close to every image is never punished for it. The scale matters as much as the angles: cosines
# lie in $[-1, 1]$, and a softmax over 32 such numbers is nearly flat, so the smallest loss would stay high
# however good the angles are.
#
# **Frequent mistakes.** Dividing by `scale` (it is one over the temperature); summing over the batch, so
# that the learning rate depends on its size; dropping the softmax, which lets everything collapse into one
# point at no cost.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 2. A classifier made of sentences
#
# Each class has $T$ prompts ("a chest radiograph with an effusion", "there is fluid at the base of the
# lung", ...). Average their embeddings, bring the average back to unit length, and give each image the
# class with the highest cosine.

# %% [markdown] tags=["hint"]
# `prompts.mean(1)` is shorter than 1: the more the prompts of a class disagree, the shorter. What does that
# do to its score?


# %% tags=["exercise"]
def classify(image, prompts):
    """Return the class (B,) of image (B, D) from the prompts (K, T, D) of K classes."""
    # SOLUTION
    classes = F.normalize(prompts.mean(dim=1), dim=-1)
    return (image @ classes.T).argmax(dim=1)
    # END SOLUTION


checks.q2(classify)

# %% [markdown] tags=["solution-only"]
# **Why.** Without the second normalisation a class whose prompts are worded differently is scored down for
# its wording, not for the picture. Averaging the logits of the prompts is the same as leaving the
# normalisation out, since the dot product is linear.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 10}
# ## 3. Recall at k, when one image has several true captions
#
# Radiologists describe one picture in many ways. `match[i, n]` says whether caption $n$ is true of image
# $i$. Return the share of images that have at least one true caption among their `k` most similar ones.

# %% [markdown] tags=["hint"]
# `similarity.topk(k, dim=1).indices` are the columns to look up in `match`; see `torch.Tensor.gather`.


# %% tags=["exercise"]
def recall(similarity, match, k):
    """Return recall at k of similarity (B, N) with the true pairs match (B, N)."""
    # SOLUTION
    nearest = similarity.topk(k, dim=1).indices
    return match.gather(1, nearest).any(dim=1).float().mean()
    # END SOLUTION


checks.q3(recall)

# %% [markdown] tags=["solution-only"]
# **Why.** Counting only the first caption as true makes a model look bad for being right in other words. In
# the other direction, text to image, several images may fit a short caption, and the usual single-match
# recall then has a ceiling below 1.

# %% [markdown] about={"difficulty": 1, "importance": 5, "minutes": 5}
# ## 4. How large is that perturbation really?
#
# A paper attacks with $\varepsilon$ = 0.03 "after normalisation". Give the step in grey levels (0 to 255)
# for each colour channel.

# %% [markdown] tags=["hint"]
# `normalised = (pixel - mean) / std`. How much does a pixel move if the normalised value moves by `eps`?


# %% tags=["exercise"]
def pixel_levels(eps, std):
    """Return the grey levels (3,) that eps in normalised space means, given std (3,)."""
    # SOLUTION
    return eps * std * 255
    # END SOLUTION


checks.q4(pixel_levels)

# %% [markdown] tags=["solution-only"]
# **Why.** With CLIP's constants 0.03 means about 2 levels, four times less than "0.03" reads (7.65 levels),
# and differently in each channel. In `medadv` a perturbation is always measured in pixels, because the
# models normalise inside; the mistake cannot be written down.

# %% [markdown] about={"difficulty": 2, "importance": 4, "minutes": 10}
# ## 5. A score that a lazy model cannot win
#
# In a screening set 16 of 20 images may be healthy; always saying "healthy" is then 80 % accurate and
# useless. Return the mean, over the classes that occur in `label`, of the share of their images that is
# found.


# %% tags=["exercise"]
def balanced(predicted, label):
    """Return the balanced accuracy of predicted (B,) against label (B,)."""
    # SOLUTION
    found = [(predicted[label == k] == k).float().mean() for k in label.unique()]
    return torch.stack(found).mean()
    # END SOLUTION


checks.q5(balanced)

# %% [markdown] tags=["solution-only"]
# **Why.** The lazy model now scores one over the number of classes, whatever the mix. Dividing by how often
# a class is *said* instead of how often it is *true* gives precision, another question.

# %% [markdown] about={"difficulty": 2, "importance": 5, "minutes": 10}
# ## 6. Hold out patients, not images
#
# Two photographs of one mole are nearly the same picture. Return `True` for the images to hold out: those
# of `share` of the *patients* (rounded), with no patient on both sides. Any choice of patients will do.

# %% [markdown] tags=["hint"]
# Choose among `sorted(set(patients))`, then ask for each image whether its patient was chosen.


# %% tags=["exercise"]
def held_out(patients, share):
    """Return (B,) bool: which images are held out."""
    # SOLUTION
    names = sorted(set(patients))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    held = {names[i] for i in order[: round(share * len(names))]}
    return torch.tensor([name in held for name in patients])
    # END SOLUTION


checks.q6(held_out)

# %% [markdown] tags=["solution-only"]
# **Why.** A random split by image lets the model recognise the patient instead of the disease, and the test
# score rises for the wrong reason. `medadv.data.tidy.grouped_folds` does this for cross-validation.
