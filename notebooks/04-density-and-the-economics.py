# %% [markdown]
# # Density and the economics
#
# “More containers than virtual machines fit on a server.” How many more, and what is it worth?
# **How many boxes fit on a host, how would you find out without filling it, and what does one of
# them cost a month?**
#
# | minutes | what you do |
# |---|---|
# | 0 – 6 | the ramp and its stop rule |
# | 6 – 15 | **predict** what one more box costs |
# | 15 – 23 | the slope, by hand |
# | 23 – 32 | **predict** how many fit |
# | 32 – 40 | which wall comes first? |
# | 40 – 50 | the price of a box; exercises |
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
    ratio,
    readable,
    speak,
)
from harness.report import figure, guess_figure, house_style

speak("en")
run = demo("density")
MIB, GIB = 2**20, 2**30
question(run)

# %% [markdown]
# ## 1 · The ramp
#
# Boxes are started one after the other, and each writes to some memory and keeps it. At
# certain numbers of boxes the ramp stops for a moment and measures: what is charged to all of them
# together, what the host has less, and how quickly the running ones answer. A ramp needs an end
# that is written down *before* it begins. These are the rules of this run:

# %%
rules = run.manifest["scenario"]["experiments"]["density"]
names = ["touched", "max_instances", "reserve", "memory_pressure", "requests_per_s"]
pd.Series({name: rules[name] for name in names}, name="rule").to_frame()

# %% [markdown]
# `reserve` is memory of the host that must stay; `memory_pressure` the share of time in which some
# program waited for memory; `max_instances` an end in any case. Which of them ended the ramps?

# %%
ended = run.samples[run.samples["metric"] == "density.instances"]
pd.crosstab(ended["runtime"], ended["dimensions"])

# %% [markdown]
# So *nothing was full*. The run does not tell by trial how many fit. It tells what one more costs,
# and the rest is arithmetic, with all that can go wrong in arithmetic.

# %% [markdown]
# ## 2 · Predict one more box
#
# What does one more box cost in memory, in bytes, everything included, also the bytes that it was
# told to write (`touched`, above)? Write `3 * MIB` for three MiB. The machine was emulated; guess
# it all the same, and mind that part of its number is the emulator's.

# %%
guesses = {
    "crun": None,
    "docker": None,
    "qemu": None,
}
checked = check_guesses(run, "density.slope", guesses)
guess_figure(checked)

# %%
readable(checked)

# %%
figure(run, "density-memory")

# %% [markdown]
# Each line is a ramp. Solid is what was charged, dashed what the host has less: two independent
# counts.
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - For crun nearly all of it is what the box was told to write. The box itself is lost in it.
# - Docker's box costs nearly as much again: its shim.
# - The lines are straight. One more costs the same whether it is the third or the eighth. That is
#   an observation, and it is what allows arithmetic.
# - For Docker, charged lies above the host's fall. Find out at which number of boxes it jumps.
#
# </details>

# %% [markdown]
# ## 3 · The slope, by hand
#
# Why a slope and not “all of it, divided by how many”? Compare the two:

# %%
steps = [0, 1, 2, 4, 8]


def charged(runtime: str) -> pd.Series:
    """The median charged to all instances together, in MiB, by how many there are."""
    found = {n: medians(run, "density.charged", n=str(n))["median"][runtime] / MIB for n in steps}
    return pd.Series(found).rename_axis("instances")


docker = charged("docker")
running = docker.loc[1:]
slope, fixed = np.polyfit(running.index, running, 1)

with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.8))
    axes.plot(docker.index, docker, "o", color="#0072B2")
    line = np.array([0, max(steps)])
    axes.plot(line, fixed + slope * line, color="#0072B2", linewidth=1)
    axes.plot(line, docker[1] * line, color="#D55E00", linewidth=1, linestyle="--")
    axes.set(
        xlabel="instances (Docker); dashed: the first one, times n", ylabel="MiB", ylim=(0, None)
    )
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The first Docker box brings something along that the second finds there already. Whoever measures
# *one* box and multiplies is far off:

# %%
pd.Series(
    {
        "one box, measured alone": docker[1],
        "eight boxes, divided by eight": docker[8] / 8,
        "slope from one to eight": slope,
        "what stands whatever the number": fixed,
    },
    name="MiB",
).round(1).to_frame()

# %% [markdown]
# (tarebench's own slope lies between, for it begins at none. With the fixed part inside, it errs
# on the safe side.)
#
# ## 4 · Predict how many fit
#
# **Capacity = (memory of the host − reserve) / slope.** For the host of this run, by its own
# rule for the reserve: how many would fit of each?

# %%
host_bytes = run.manifest["host"]["memory_bytes"]
reserve_bytes = float(rules["reserve"].split()[0]) * GIB
slopes = medians(run, "density.slope")
room = host_bytes - reserve_bytes
capacity = pd.DataFrame(
    {
        "class": slopes["class"],
        "emulated": slopes["emulated"],
        "fit": room / slopes["median"],
        "low": room / slopes["high"],
        "high": room / slopes["low"],
    }
)
print(f"the host has {host_bytes / GIB:.0f} GiB")

# %%
guesses = {
    "crun": None,
    "docker": None,
    "qemu": None,
}
guess_figure(guesses_beside(capacity, guesses, "fit"))

# %%
capacity[["fit", "low", "high", "emulated"]].round(0)

# %% [markdown]
# **How much do you believe this?** We measured eight and speak of thousands. What would have to
# stay true on the way?
#
# ## 5 · Which wall comes first?
#
# Memory is one wall. Here are two others: how long it takes to *start* so many, one after the other
# at the rate of this run, and how many processes the host can have if each box needs at least two
# (a process, and somebody who looks after it).

# %%
rates = medians(run, "density.rate")["median"]
walls = pd.DataFrame(
    {
        "fit by memory": capacity["fit"],
        "minutes to start them": capacity["fit"] / rates / 60,
        "processes": capacity["fit"] * 2,
    }
)
walls.round(0)

# %% [markdown]
# Linux has 32768 process numbers where nobody raised the limit. And do those that run answer as
# quickly when there are more of them? Eight against one, with intervals:

# %%
rows = {}
for name in ("crun", "docker", "qemu"):
    for label, quantile in (("median", "0.5"), ("one in a hundred", "0.99")):
        one, eight = (
            run.values("density.latency", name, n=n, quantile=quantile) for n in ("1", "8")
        )
        found = ratio(eight, one)
        rows[name, label] = {
            "eight / one": found.value,
            "low": found.interval.low,
            "high": found.interval.high,
        }
pd.DataFrame(rows).T.round(2)

# %%
figure(run, "density-latency")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - For the containers every interval holds 1: with eight boxes these data do not show that anyone
#   waits longer. Of a thousand they say nothing.
# - The emulated machines answer more slowly as they become more. Each translates instructions
#   on the same few cores.
# - Capacity by memory is an **upper bound**. Whichever wall comes first decides, and on a host with
#   much memory it need not be the memory.
# - Boxes that do something need memory that comes and goes. Operators sell more than they have
#   (*overcommit*) and bet that not all want theirs at once. The slope of idle boxes is the least
#   that one costs, not what it should be allowed.
#
# </details>

# %% [markdown]
# ## 6 · The price of a box
#
# Put in what your host costs a month, power and people included, in any currency. The price of a
# box is that, divided by how many fit. Then change the *touched* bytes to those of a real service:
# what the box itself costs matters less and less.

# %%
MONTHLY = 100.0

own = slopes["median"] - 4 * MIB  # what is left without the touched bytes
services = {"as measured": 4, "a small service": 64, "a large one": 1024}
prices = pd.DataFrame(
    {f"{name} ({mib} MiB)": MONTHLY * (own + mib * MIB) / room for name, mib in services.items()}
)
prices.round(3)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# From left to right the rows come closer to each other. *The density argument is strongest for
# boxes that do nothing.* For a service that needs a GiB, the box around it is small change, and
# other things decide: isolation, start-up, who looks after it.
#
# The `qemu` row is an emulator's. With KVM its own part is smaller; how much is not decided here.
#
# </details>
#
# ## 7 · Exercises
#
# - **first**: by how many MiB is the first Docker box dearer than the slope from one to eight?
# - **halved**: how many crun boxes fit if each touches twice as much (take `own` as it is)?
# - **minutes**: how many minutes does it take to start 1000 Docker boxes at the rate of this run?
# - **ended by**: which rule ended the ramps?

# %%
answers = {
    "first": None,
    "halved": None,
    "minutes": None,
    "ended by": None,
}
right = {
    "first": float(docker[1] - slope),
    "halved": float(room / (own["crun"] + 8 * MIB)),
    "minutes": float(1000 / rates["docker"] / 60),
    "ended by": "max_instances",
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence**: how many fit? With the condition, the interval and the wall.

# %% [markdown]
# ## 8 · Your own machine
#
# Where containers run (root), climb further. The ramp ends by the rules whatever happens: the
# reserve is never touched. Set the flag to True and **predict first**: is the line still straight?

# %%
MEASURE = False

if MEASURE:
    import subprocess
    import sys

    from IPython.display import display

    from harness.analysis import load

    command = [sys.executable, "-m", "harness.cli", "run", "density", "--runtime", "crun"]
    command += ["--set", "max_instances=200", "--repeat", "1"]
    folder = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    display(figure(load(folder), "density-memory"))
