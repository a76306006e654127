# %% [markdown]
# # How to lie with benchmarks
#
# Five reports about boxes. **Every number in them was measured, none was changed, and every
# report is wrong.** Nobody needs to invent data in order to mislead; it is enough to compare what
# cannot be compared. Most who do it mislead themselves first.
#
# You are the reviewer. For each report: what is wrong, which question would you ask its
# author, and what do the same data say when they are asked properly?
#
# | minutes | what you do |
# |---|---|
# | 0 – 4 | the rules |
# | 4 – 13 | report 1: the quick one; **predict**, then mend |
# | 13 – 23 | report 2: the average; **predict**, then mend |
# | 23 – 31 | report 3: last year |
# | 31 – 40 | report 4: the sum; **predict**, then mend |
# | 40 – 46 | report 5: the machine |
# | 46 – 50 | name the five |
#
# Clear all outputs before you start. For each report, decide on your objection *before* you
# open the discussion.

# %%
# %matplotlib inline
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from harness.analysis import (
    by_block,
    check_answers,
    check_guesses,
    demo,
    difference,
    guesses_beside,
    median,
    medians,
    ratios,
    readable,
    speak,
)
from harness.report import guess_figure, house_style

pd.set_option("display.max_colwidth", None)
speak("en")


def press_chart(values: Mapping[str, float], unit: str) -> None:
    """Bars and nothing else, as it would stand in a newspaper."""
    with house_style():
        _, axes = plt.subplots(figsize=(6, 0.5 + 0.42 * len(values)))
        shown = axes.barh(list(values), list(values.values()), color="#D55E00", height=0.6)
        axes.bar_label(shown, fmt=f"%.3g {unit}", padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)


# %% [markdown]
# ## Report 1 · The quick one

# %%
quick, cold = demo("quick"), demo("cold")
crun = quick.values("startup.ready", "crun").median()
runc = cold.values("startup.ready", "runc", regime="cold").median()
press_chart({"crun": crun * 1000, "runc": runc * 1000}, "ms")
print(f"“crun starts containers {runc / crun:.1f} times as fast as runc.”")

# %% [markdown]
# Both bars are medians of many trials, on the same host with the same image. Look at the code that
# made them before you look at the bars. **What is wrong?**
#
# Then predict what the same data say when they are asked properly. How many times as long as crun
# does runc take?

# %%
guesses = {"runc": None}
within = ratios(cold, "startup.ready", over="crun", regime="cold")
guess_figure(guesses_beside(within, guesses, "ratio"))

# %%
alike = {
    "both warm (quick)": ratios(quick, "startup.ready", over="crun").loc["runc"],
    "both cold (cold)": within.loc["runc"],
}
pd.DataFrame(alike).T[["ratio", "low", "high", "verdict"]].infer_objects().round(2)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# One was started **warm**: its files were in the host's memory, because a start before had read
# them. The other **cold**: everything had been thrown out of the page cache first. Some of what the
# report calls the runtime is the disk.
#
# Asked within one run and one condition, crun is still quicker, but by much less, and the two
# conditions agree about it. *A ratio travels better than its two halves, if both were measured
# together.*
#
# **The question to ask:** what had run before each trial?
#
# </details>

# %%
cold_read = medians(cold, "startup.read", regime="cold")[["median", "low", "high"]]
cold_read.attrs["units"] = dict.fromkeys(cold_read, "bytes")
readable(cold_read)

# %% [markdown]
# That is what a cold start has to read from the disk before it is ready. A warm one finds it in
# memory.

# %% [markdown]
# ## Report 2 · The average

# %%
density = demo("density")
launches = pd.DataFrame(
    {n: density.values("density.ready", "crun", n=str(n)) * 1000 for n in range(1, 9)}
).rename_axis(index="block", columns="instance")
every = launches.stack()
press_chart({"crun": every.mean()}, "ms")
print(f"“On average, crun needs {every.mean():.1f} milliseconds to start a container.”")

# %% [markdown]
# In this run eight containers were started one after the other, and that in several blocks. The
# mean is computed correctly. **Sketch** on paper how the single trials lie around it. Then look.

# %%
with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.3))
    axes.hist(every, bins=np.arange(0, 40, 1), color="#0072B2", alpha=0.8)
    axes.axvline(every.mean(), color="#D55E00", linewidth=2)
    axes.set(xlabel="milliseconds until READY; the line is the mean", ylabel="launches")
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The mean stands where hardly any launch does. These are **two modes**: two different things
# happen, and the mean is neither. Which launches are the quick ones? The run started 1, 2, 4 and
# then 8 containers, and stopped after each of these numbers to measure. Predict, in seconds: how
# long did launch 3 take, the first after a stop, and launch 4, straight after another?

# %%
by_launch = pd.DataFrame(
    {f"launch {n}": medians(density, "density.ready", n=str(n)).loc["crun"] for n in range(1, 9)}
).T
by_launch.attrs["units"] = dict.fromkeys(("median", "low", "high"), "s")
guesses = {"launch 3": None, "launch 4": None}
guess_figure(guesses_beside(by_launch, guesses))

# %%
at_once = [4, 6, 7, 8]
with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.6))
    for number in launches:
        quick_one = number in at_once
        axes.scatter(
            [number] * len(launches),
            launches[number],
            color="#0072B2" if quick_one else "#A86200",
            marker="o" if quick_one else "^",
            alpha=0.7,
        )
    axes.axhline(every.mean(), color="#D55E00", linewidth=1)
    axes.set(
        xlabel="launch (dot: straight after another; triangle: after a stop)",
        ylabel="milliseconds",
        ylim=(0, None),
    )
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# A launch that follows another at once is spared a wait. Moving a process into a control group
# makes the kernel wait for a grace period (lesson 02), but the kernel stays prepared for a moment
# afterwards, and who comes in that moment does not wait again.
#
# So “how fast is crun” has two right answers, and which is yours depends on what you do: start one
# container now and then, or many in a row. The mean answers for a mixture that nobody has, and
# it changes when the mixture does: *measure in a tight loop, and everything that uses
# control groups looks quicker.*
#
# **The question to ask:** may I see the points?
#
# </details>

# %% [markdown]
# ## Report 3 · Last year

# %%
docker = demo("docker")
last_year = docker.values("startup.ready", "docker,network=host")
this_year = docker.values("startup.ready", "docker,client=cli,network=host")
growth = this_year.median() / last_year.median() - 1
press_chart({"last year": last_year.median() * 1000, "this year": this_year.median() * 1000}, "ms")
print(f"“Within a year Docker has become {growth:.0%} slower.”")

# %% [markdown]
# The years are ours: both series come from one run of one Docker, in the same blocks. But
# it is how such a headline comes about. **Look at the code again: what differs?** And how sure
# is the difference?

# %%
change = difference(this_year, last_year)
ends = (change.interval.low, change.interval.high)
pd.Series({"difference": change.value, "low": ends[0], "high": ends[1]}, name="milliseconds").mul(
    1000
).round(1).to_frame()

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# Two faults, and each would do.
#
# - **The client is in the span.** “Last year” counted from a request to Docker's service. “This
#   year” counted from typing the `docker` command: a program that has to be loaded, which finds
#   the service, asks it, and hands the box's output on. Both are fair measurements, of two
#   different spans. They make no series.
# - **No interval.** The difference's interval crosses zero. These blocks do not even decide
#   whether the client costs anything. Two medians *always* differ.
#
# Much of what is published on containers times `docker run`, and next to it a machine from
# its monitor's first instruction. Then part of what is called the container is its client.
#
# **The questions to ask:** from which event to which, on whose clock? And how far does the
# difference spread?
#
# </details>

# %% [markdown]
# ## Report 4 · The sum

# %%
memory = demo("memory")
rss = medians(memory, "memory.rss", state="idle")["median"]
boxes = 1000
told = rss["docker"] * boxes / 2**30
press_chart({"crun": rss["crun"] * boxes / 2**30, "docker": told}, "GiB")
print(f"“{boxes} idle Docker containers hold {told:.1f} GiB: add up what ps shows.”")

# %% [markdown]
# `ps` and `top` show each process with its RSS: how much of what it has mapped lies in memory. The
# report adds up the processes of a box (the program in it, and the helper that Docker keeps beside
# each), and takes that a thousand times. **What is wrong?**
#
# Predict what the kernel has *charged* to an idle box, in bytes (a MiB is `2**20`):

# %%
guesses = {"crun": None, "docker": None}
guess_figure(check_guesses(memory, "memory.charged", guesses, state="idle"))

# %%
ways = {"RSS": "memory.rss", "PSS": "memory.pss", "charged": "memory.charged"}
by_way = pd.DataFrame(
    {way: medians(memory, metric, state="idle")["median"] for way, metric in ways.items()}
)
(by_way.loc[["bare,cgroup=on", "crun", "runc", "docker"]] / 2**20).round(2).rename_axis("MiB")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# Pages of a program's file are in memory **once**, however many processes have mapped them, and the
# RSS of each counts them whole. A sum of RSS counts the same page as often as it is shared. PSS
# divides a page among those who share it; a control group is charged for what was brought in on
# its account. Neither is *the* truth, but they can be added up.
#
# A slope is better than a sum: start more boxes, and see what the host has less. Lessons 03 and 04
# do.
#
# **The question to ask:** if I add this up over all processes, do I get more than the machine has?
#
# </details>

# %% [markdown]
# ## Report 5 · The machine

# %%
starts = medians(quick, "startup.ready")["median"]
press_chart({"crun": starts["crun"], "virtual machine": starts["qemu"]}, "s")
print(f"“A virtual machine takes {starts['qemu'] / starts['crun']:.0f} times as long to start.”")

# %% [markdown]
# One name on this chart is wrong. Ask the run what it knows of that row:

# %%
known = quick.trials.groupby("runtime", observed=True)[["runtime_class", "accel"]].first()
verdict = ratios(quick, "startup.ready", over="crun").loc[["qemu"], ["verdict", "why"]]
known.join(verdict).loc[["crun", "qemu"]].fillna("")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# `accel` is TCG: QEMU read each instruction of the guest and did it by program. On hardware that
# can, KVM lets the guest run on the processor itself. The report measured an *emulator* and wrote
# “virtual machine” below it. No number of trials mends a wrong name.
#
# It happens by itself: QEMU without a word falls back to emulation where `/dev/kvm` cannot be used
# and the command allows both. The seconds look plausible, for everybody knows that virtual
# machines are slow.
#
# **The question to ask:** how do you know that it ran what you say it ran?
#
# </details>

# %% [markdown]
# ## Name the five
#
# Which fault is in which report? Put one letter to each.
#
# | | fault |
# |---|---|
# | a | what is shared was counted more than once |
# | b | something else ran than the label says |
# | c | the conditions differ |
# | d | two kinds of event were averaged into one |
# | e | the spans differ, and no interval says whether it matters |

# %%
answers = {
    "report 1": None,
    "report 2": None,
    "report 3": None,
    "report 4": None,
    "report 5": None,
}
right = dict(zip(answers, "cdeab", strict=True))
check_answers(answers, right)

# %% [markdown]
# Two to work out, from the tables above. **ratio**: how many times too large is the RSS of an
# idle Docker box, against what is charged? **quick mode**: the median of all launches that followed
# another at once, in milliseconds.

# %%
answers = {
    "ratio": None,
    "quick mode": None,
}
right = {
    "ratio": float(by_way["RSS"]["docker"] / by_way["charged"]["docker"]),
    "quick mode": float(launches[at_once].stack().median()),
}
check_answers(answers, right)

# %% [markdown]
# Now the other way: write **an honest sentence** for each report, with a number, an interval and a
# condition. For report 5 the honest sentence has no number.

# %% [markdown]
# ## Lie with your own machine
#
# Where you can run boxes, try to produce report 2 yourself. Set the flag to True: this starts the
# same plain process many times, and shows the mean of a run beside its points. Can you disturb the
# host so that the mean tells something that no trial did?

# %%
MEASURE = False

if MEASURE:
    import subprocess
    import sys

    from IPython.display import display

    from harness.analysis import load

    command = [sys.executable, "-m", "harness.cli", "run", "quick", "--runtime", "bare"]
    folder = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    mine = load(folder)
    points = by_block(mine, "startup.ready")["bare"] * 1000
    display(points.describe().round(2))
    print(median(points / 1000))
