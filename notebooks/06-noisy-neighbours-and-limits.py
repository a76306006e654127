# %% [markdown]
# # Noisy neighbours and limits
#
# Boxes on one host share its processors, its memory, its disk and its kernel. **What does a job
# lose when the box beside it works hard, and what does a limit save?**
#
# A wall says what a box can *see*. It does not say how much it can *use*. The two are told apart in
# this lesson and the next.
#
# | minutes | what you do |
# |---|---|
# | 0 – 6 | a victim and an aggressor |
# | 6 – 15 | **predict** by counting: two who compute |
# | 15 – 25 | the heat map |
# | 25 – 35 | **predict** what a limit saves |
# | 35 – 42 | the slow iterations |
# | 42 – 50 | exercises |
#
# Clear all outputs before you start.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from harness.analysis import (
    check_answers,
    check_guesses,
    demo,
    guesses_beside,
    medians,
    question,
    readable,
    speak,
)
from harness.report import figure, guess_figure, house_style

speak("en")
run = demo("interference")
question(run)

# %% [markdown]
# ## 1 · A victim and an aggressor
#
# Two boxes of the same kind at once. In one the **victim** does a small piece of work, again and
# again, and notes how long each took. In the other the **aggressor** does as much as it can, of
# the same or of another kind:
#
# | name | the victim's piece of work | the aggressor |
# |---|---|---|
# | `cpu` | some prime numbers | computes without end |
# | `memory` | a block written to memory | writes to memory without end |
# | `disk` | one small write to the disk | many such writes at once |
# | `fork` | some processes that begin and end | processes without end |
#
# What is told is a **slowdown**: the median piece beside the aggressor over the median piece alone,
# in the same box, in the same trial. One is “noticed nothing”, two is “took twice as long”. Each
# pair is tried with limits and without:

# %%
noted = run.trials[run.trials["experiment"] == "interference"].groupby("runtime", observed=True)
told = pd.DataFrame(list(noted["conditions"].last()), index=list(noted.groups))
told.reindex(columns=["host_cpus", "workers_off", "workers_on", "left_out"]).astype(object).fillna(
    ""
)

# %% [markdown]
# `host_cpus` is how many processors the host has, `workers_off` and `workers_on` how many workers
# the aggressor had without limits and with them. Whoever cannot be limited, or is never without a
# limit, has one round only: which one it lacks stands in `left_out`. These are the limits:

# %%
limits = run.manifest["scenario"]["limits"]
pd.Series(limits, name="limit").to_frame()

# %% [markdown]
# Nothing was pinned to a processor. Where a box runs is the scheduler's choice, as it is in
# earnest.

# %% [markdown]
# ## 2 · Predict by counting
#
# The simplest pair: the victim computes, with one thread, and so does the aggressor, with as many
# threads as the host has processors. A scheduler that is fair to **threads** gives each the same.
# Then everybody can work out what the victim is left with:

# %%
cpus = int(told["host_cpus"].iloc[0])


def fair_to_threads(workers: float) -> float:
    """How many times as long one thread takes beside so many, by counting alone."""
    return max(1.0, (1 + workers) / cpus)


workers = np.arange(0, 9)
with house_style():
    _, axes = plt.subplots(figsize=(8, 2.3))
axes.plot(workers, [fair_to_threads(each) for each in workers], marker="o", color="#0072B2")
axes.set(xlabel="workers of the aggressor", ylabel="slowdown", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# Containers have control groups, and a scheduler is also fair to **groups**: a box with many
# threads gets no more than a box with one, if both want it.
#
# How many times as long does the victim take, with no limits? The counted value is a good guess
# for `bare`. Does a group of its own help?

# %%
guesses = {
    "bare": None,
    "crun": None,
}
pair = {"victim": "cpu", "aggressor": "cpu", "quantile": "0.5"}
computing = check_guesses(run, "interference.slowdown", guesses, **pair, limits="off")
guess_figure(computing)

# %%
readable(computing)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Counting assumes that nothing else is shared than the processor's time. Two that compute with
#   small data come as close to that as anything.
# - If an interval lies above the counted value, something else is shared too: a cache, a clock
#   that falls when all cores work, or a core that is half of another one. On a rented host,
#   it may also be the neighbour *of the host*.
# - If it lies below: who is fair to threads only in the long run may be less so in a
#   short one, and a thread that just woke up is often let in first.
# - If `crun` does better than `bare`, the group has helped. If the intervals overlap, these data do
#   not decide.
#
# </details>

# %% [markdown]
# ## 3 · The heat map
#
# Now every victim beside every aggressor. A line is a pair, a column a box with limits or without.
# Darker is slower.

# %%
figure(run, "interference")

# %% [markdown]
# In pairs, from the chart:
#
# 1. Which aggressor disturbs most of the victims? Which victim is disturbed by most of the
#    aggressors?
# 2. Look for a pair that wants *different* things, such as one who computes beside one who writes
#    to the disk. What do they share all the same?
# 3. Is there a value below one? Can a neighbour make a job *quicker*?
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Those that ask the kernel for much (`fork`) share more than processors: its locks and its lists,
#   and these have no group.
# - All of them share the harness that waits, the last cache, the memory's bandwidth, the power of
#   the chip. And a disk's writes have to be computed by somebody.
# - Below one is no mistake by itself. A processor that is kept awake by a neighbour answers sooner
#   than one that has to be woken, and a wait of the kernel that somebody else has begun already
#   ends sooner (lesson 08, report 2). Look at the interval before you believe it.
#
# </details>

# %% [markdown]
# ## 4 · Predict what a limit saves
#
# The limit on processors is a *quota*: in each short period a group may use so much processor
# time, and then stands still until the next begins. It holds the aggressor. It also holds the
# victim, in the same way.
#
# Take `crun` and two pairs: two that compute, and two that write memory. How many times as long
# does the victim take, without limits and with them?

# %%
cases = {
    "computing, no limits": ("cpu", "off"),
    "computing, limits": ("cpu", "on"),
    "memory, no limits": ("memory", "off"),
    "memory, limits": ("memory", "on"),
}
saved = pd.DataFrame(
    {
        name: medians(
            run, "interference.slowdown", victim=load, aggressor=load, limits=on, quantile="0.5"
        ).loc["crun"]
        for name, (load, on) in cases.items()
    }
).T
guesses = {
    "computing, no limits": None,
    "computing, limits": None,
    "memory, no limits": None,
    "memory, limits": None,
}
guess_figure(guesses_beside(saved, guesses))

# %%
saved[["median", "low", "high"]].astype(float).round(2)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - A limit can save only what it limits. Processor time is counted, so a quota gives it back to the
#   victim, if there are processors enough for both.
# - Nobody counts the bandwidth of memory or the space in a cache here. The limit on *memory* is
#   about how much may be kept, not about how quickly it is written. If the second pair gets better
#   too, then because the aggressor has fewer workers now.
# - A limit is no reservation. It says what the *other* may take at the most. With enough boxes
#   that each keep to theirs, a host is full all the same.
#
# </details>

# %% [markdown]
# All pairs of `crun`, as the factor between no limits and limits: above one, the limit has saved
# something.

# %%
metric, loads = "interference.slowdown", ("cpu", "memory", "disk", "fork")


def slowdown(victim: str, aggressor: str, on: str) -> float:
    """Of crun, the median over blocks."""
    where = {"victim": victim, "aggressor": aggressor, "limits": on, "quantile": "0.5"}
    return float(run.values(metric, "crun", **where).median())


without, limited = (
    pd.DataFrame({a: {v: slowdown(v, a, on) for v in loads} for a in loads}) for on in ("off", "on")
)
(without / limited).round(2).rename_axis(index="victim", columns="aggressor")

# %% [markdown]
# ## 5 · The slow iterations
#
# A user does not feel the median. Who asks a hundred times a page meets the slow ones each time.
# The same map for the slow iterations of each victim:

# %%
figure(run, "interference-tail")

# %% [markdown]
# **Compare with the first map.** Which pairs are light there and dark here? A job that is stopped
# now and then, for a whole turn of the scheduler or for the rest of a period, loses nothing in its
# median: most pieces go through undisturbed. The few that meet the stop pay for it alone. *A
# neighbour that is harmless by the median may be the worst by the tail.*

# %% [markdown]
# ## 6 · Exercises
#
# - **eight**: by counting alone, how many times as long does a thread take beside an aggressor with
#   eight workers on this host, fair to threads?
# - **groups**: and if the scheduler is fair to the two *groups*? (One thread can use one processor
#   at the most.)
# - **worst**: which aggressor slows the `cpu` victim of `crun` down most, without limits? A name,
#   from `without`.
# - **saved**: how many times as large is the slowdown of two that compute without limits as with
#   them, for `crun`?
# - **sure**: of how many of the pairs of `crun` without limits are we sure that the victim is
#   slowed down at all? The interval has to lie above one.

# %%
answers = {
    "eight": None,
    "groups": None,
    "worst": None,
    "saved": None,
    "sure": None,
}
lows = [
    medians(run, metric, victim=v, aggressor=a, limits="off", quantile="0.5")["low"]["crun"]
    for v in loads
    for a in loads
]
right = {
    "eight": fair_to_threads(8),
    "groups": max(1.0, 2 / cpus),
    "worst": without.loc["cpu"].idxmax(),
    "saved": float(without["cpu"]["cpu"] / limited["cpu"]["cpu"]),
    "sure": sum(low > 1 for low in lows),
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence** for a colleague who says “we have containers, so they cannot disturb each
# other”. With a pair, a number and a condition.

# %% [markdown]
# ## 7 · Your own machine
#
# Any system, no root: this measures how long a small computation takes, alone and beside workers of
# your own, as many as you have processors. Set the flag to True and **predict first**, by counting.

# %%
MEASURE = False

if MEASURE:
    import os
    import subprocess
    import sys
    import time

    def piece() -> float:
        """The median of many small computations, in seconds."""
        spans = []
        for _ in range(200):
            start = time.perf_counter()
            sum(number * number for number in range(20_000))
            spans.append(time.perf_counter() - start)
        return float(np.median(spans))

    burn = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    alone = piece()
    busy = [subprocess.Popen(burn, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    try:
        for each in busy:
            each.stdout.readline()  # it is up
        beside = piece()
    finally:
        for each in busy:
            each.kill()
            each.communicate()
    print(f"{beside / alone:.2f} times as long beside {len(busy)} workers")
