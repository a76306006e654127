# %% [markdown]
# # What does the box cost?
#
# A program needs a place to run. It can run straight on a machine, or in a *box*: a jail, a
# container, a virtual machine. Boxes keep programs apart, and they cost something. This lesson
# asks for one of the costs, **the time until a box is ready**, and for something that will serve
# you longer: *how do we know?*
#
# All you need is Python with tarebench installed: no root, no Docker, no virtual machines. The
# data were measured before this lesson and came along. At the end you can measure your own.
#
# | minutes | what you do |
# |---|---|
# | 0 – 5 | the question |
# | 5 – 10 | **predict**, then look |
# | 10 – 22 | read the chart; the median, its interval, and the block |
# | 22 – 29 | find where the time goes |
# | 29 – 38 | **predict** again: Docker without its network; the whole way up |
# | 38 – 45 | the machine that is none; what you can say now |
# | 45 – 50 | exercises |
#
# Work in pairs. Before you start, clear what is already filled in (*Edit → Clear Outputs of All
# Cells*), or the answers will look back at you. Then go from top to bottom with Shift+Enter.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from harness.analysis import (
    answers,
    by_block,
    check_answers,
    check_guesses,
    demo,
    median,
    medians,
    published_figures,
    question,
    ratios,
    readable,
    rung_table,
    speak,
)
from harness.report import figure, guess_figure, house_style

pd.set_option("display.max_colwidth", None)
speak("en")
run = demo("quick")
question(run)

# %% [markdown]
# ## 1 · The question
#
# Every box in this run was given the same files and the same small program. The first thing that
# the program does is to send one short message, READY. The host notes the instant at which it
# arrives, on the host's own clock. We count **from just before the box is asked for until READY
# arrives**: the same event, seen by the same clock, for every kind of box.
#
# | name | what it is |
# |---|---|
# | `bare` | a plain process, no box at all |
# | `chroot` | a process that sees another folder as its root `/` |
# | `crun`, `runc` | programs that make a container, and are then out of the way |
# | `docker` | a container too, but asked for at Docker, a service that runs all the time |
# | `qemu` | a whole machine with its own kernel; it will have a section to itself |
#
# Where was it measured? A number without its machine is a rumour:

# %%
host = run.manifest["host"]
pd.Series(
    {
        "processor": host["cpu_model"],
        "number of cores": host["cores"],
        "system": host["os"],
        "itself a virtual machine": "yes" if host["hypervisor"] else "no",
        "blocks": len(by_block(run, "startup.ready")),
    },
    name="the host",
).to_frame()

# %% [markdown]
# ## 2 · Predict
#
# How long from the request to READY, in seconds? Talk to your neighbour, replace each `None` by a
# number, and run the cell. Nobody knows these by heart. A help: a blink of the eye takes some
# 0.2 seconds, and a thousandth of a second is `0.001`.

# %%
guesses = {
    "bare": None,
    "chroot": None,
    "crun": None,
    "runc": None,
    "docker": None,
}
guess_figure(check_guesses(run, "startup.ready", guesses))

# %%
readable(check_guesses(run, "startup.ready", guesses))

# %% [markdown]
# `median` is what was measured (we come to `low` and `high`). `off` says how many times too long
# or too short your guess was. Within 3 × is good. Within 10 × you had the right order of
# magnitude, and that is what a guess is for. A line of dashes is a guess that you still owe.
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Did you expect the `chroot` to cost anything? It changes one pointer of a process: where its
#   root folder is.
# - Did you guess the same for `crun`, `runc` and `docker`? All three end in the same thing, a
#   process with namespaces and a control group. “Container” is the name of the result. The way
#   there is what costs time, and the ways differ.
# - If you thought of seconds: you may have had the *pulling* of an image in mind, or a service in
#   the container that needs time itself. Neither is in this number. What is counted is half of
#   every measurement.
#
# </details>

# %% [markdown]
# ## 3 · Read the chart
#
# Every dot is one trial: one box, asked for once. Below the dots lies their box plot, which holds
# the middle half of them. The black stroke is the median, the band around it the 95 % interval.
# Grey crosses are warm-ups, which were decided to be thrown away before anything was measured. The
# dotted line is the harness's own floor: fork, exec and READY with no runtime at all. `qemu` is
# hatched; leave it aside for now.
#
# Look at the axis first: **each step to the right is ten times as long.**

# %%
figure(run, "startup")

# %% [markdown]
# Answer from the chart alone, in pairs:
#
# 1. Which two boxes can you not tell apart?
# 2. Take the slowest dot of `bare`. How many times the median is it? Would a *mean* mind?
#
# ### Why the median
#
# Let us be mean to the data: make the slowest trial of `bare` ten times slower still, as one
# hiccup of the host might.

# %%
bare = run.values("startup.ready", "bare")
unlucky = bare.copy()
unlucky.iloc[unlucky.argmax()] *= 10
in_ms = pd.DataFrame({"as measured": bare, "one hiccup": unlucky}) * 1000
in_ms.agg(["median", "mean"]).round(2).rename_axis("milliseconds")

# %% [markdown]
# The mean follows the one bad trial; the median does not care how bad it was. But never let a
# median hide its points. That is why the chart shows them all.
#
# ### How sure is a median?
#
# We have one run. If we could repeat it many times, the medians would differ, and we would see
# by how much. We cannot, so we pretend: draw as many trials from our own as there are, some of
# them twice, some not at all, and take the median. Do that thousands of times. This is the
# *bootstrap*.

# %%
crun = run.values("startup.ready", "crun")
dice = np.random.default_rng(1)
again = pd.Series([np.median(dice.choice(crun, size=len(crun))) for _ in range(4000)]) * 1000
low, high = again.quantile([0.025, 0.975])

with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.3))
    axes.hist(again, bins=40, color="#0072B2", alpha=0.75)
    axes.axvspan(low, high, color="#0072B2", alpha=0.12)
    axes.axvline(crun.median() * 1000, color="black")
    axes.set(xlabel="median of crun in the pretended runs, milliseconds", ylabel="how often")
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The shaded range holds 95 % of the pretended medians: that is the interval. tarebench computes
# its own in the same way, and then a little wider, because with so few trials the plain recipe
# promises more than it keeps. A small interval means that we know the median well. It does *not*
# mean that the next container will start within it; look at the dots for that.

# %%
house = median(crun).interval
pd.DataFrame(
    {"plain bootstrap": [low, high], "tarebench": [house.low * 1000, house.high * 1000]},
    index=["low", "high"],
).round(1).rename_axis("milliseconds")

# %% [markdown]
# ### Why the block is the unit
#
# The trials were not run box after box. They were run in **blocks**: each block holds every box
# once, in an order drawn by lot. If the host has a bad minute, all boxes of that block have it
# together.

# %%
readable(by_block(run, "startup.ready").head(4))

# %% [markdown]
# Why does that matter for the interval? Because it is easy to cheat without noticing. Suppose
# someone reads each value ten times and calls it ten measurements:

# %%
copied = pd.concat([crun] * 10)  # each block's value ten times
careless = [np.median(dice.choice(copied, size=len(copied))) for _ in range(4000)]
careless_low, careless_high = np.quantile(careless, [0.025, 0.975]) * 1000
by_blocks = median(copied).interval
pd.Series(
    {
        "honest, plain bootstrap": high - low,
        "ten copies, taken for new": careless_high - careless_low,
        "ten copies, by block (tarebench)": (by_blocks.high - by_blocks.low) * 1000,
    },
    name="width of the interval, milliseconds",
).round(1).to_frame()

# %% [markdown]
# The careless interval shrank, and nothing was learnt. Real data do this in a milder form: ten
# readings inside one box, or ten starts in the same quiet second, are *nearly* copies. So however
# many numbers a block holds, it counts once. **More certainty takes more blocks, not more
# readings.**

# %% [markdown]
# ## 4 · Where does the time go?
#
# On its way to READY a box passes marks that the host can see. Each bar below is one start, cut
# at these marks. All bars have the same length, so compare *within* a row.

# %%
figure(run, "phases")

# %% [markdown]
# ### Working, or waiting?
#
# Now a second question to the same starts: for how much of that time did a processor *work* on
# the launch? Work that two cores do at once counts twice, so the share can be above one. A share
# well below one means that somebody waited.
#
# **Hands up first:** is crun working or waiting, most of its time? And Docker?

# %%
ready = medians(run, "startup.ready").query("not emulated")["median"]
work = medians(run, "startup.cpu").query("not emulated")["median"]
pd.DataFrame(
    {
        "ready, ms": (ready * 1000).round(2),
        "CPU work, ms": (work * 1000).round(2),
        "work as share of time": (work / ready).round(2),
    }
)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# Most of us would have said that Docker waits: for its service, for the disk. The table says
# otherwise. Docker *works* nearly as long as it takes, and does many times the work of crun. It is
# crun that waits: for a good part of its short time, no processor does anything for it. What it
# waits for, the next chart shows.
#
# </details>

# %% [markdown]
# ### The ladder
#
# A container is no single thing that the kernel has. It is a stack of small mechanisms. Another
# run of ours climbs them one at a time: first nothing but fork and exec, then one more mechanism
# at each rung. A rung's bar begins where the one before it ends, so its length is what that
# mechanism adds. (Hatched is a branch: nothing is built upon it. Green took less time than the rung
# before.)

# %%
ladder = demo("ladder")
figure(ladder, "ladder-mechanisms")

# %% [markdown]
# Most rungs are cheap: the kernel copies a table, changes a pointer, makes an empty list. One
# stands out. The next cell names the dearest of them:

# %%
rungs = rung_table(ladder)
by_ourselves = rungs[rungs["runtime"].str.startswith("spawn") & rungs["main"]]
readable(by_ourselves.nlargest(3, "added")[["over", "added", "low", "high"]])

# %% [markdown]
# **Control groups** are how the kernel counts and limits what a box uses. Making one is a few
# folders. *Moving a process into it* is the slow part: while one moves, none may be born or end,
# and the lock for that is made to cost forks and exits next to nothing. So the mover pays: it
# waits until every processor has passed a point from which on it sees the lock (an *RCU grace
# period*). In that time nobody works for the box.
#
# And the last two rungs, one of which seems to *save* time? Look at their intervals: both cross
# zero. The same wait comes out longer in one start and shorter in the next, and what little these
# rungs cost is lost in it. The data do not decide; a picture without intervals would have lied.

# %% [markdown]
# ## 5 · Predict again: Docker without its network
#
# By default Docker gives a container a network of its own, joined to a bridge on the host
# (`docker`). It can also give it a network of its own with nothing in it
# (`docker,network=none`), or none of its own at all: the container then uses the host's
# (`docker,network=host`).
#
# Put the three in order, and guess each in seconds. You may argue with the ladder.

# %%
network = demo("docker")
guesses = {
    "docker": None,
    "docker,network=none": None,
    "docker,network=host": None,
}
guess_figure(check_guesses(network, "startup.ready", guesses))

# %%
readable(check_guesses(network, "startup.ready", guesses))

# %% [markdown]
# Now look. The chart shows differences to the base of each line, taken within blocks. An interval
# that crosses zero means: *these data do not decide whether it costs anything.*

# %%
figure(network, "variants")

# %%
three = list(guesses)
table = readable(medians(network, "startup.ready")).loc[three, ["median", "low", "high"]]
table.assign(**{"CPU work": readable(medians(network, "startup.cpu"))["median"]})

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Many people put `none` first: no network, nothing to do. But *none* is a network too, an empty
#   one: a network namespace has to be made for it and handed to the container. Only `host` spares
#   Docker that, and `host` is much the quickest.
# - Between `none` and the bridge the intervals overlap. With these blocks we cannot say that the
#   bridge itself costs anything. “Not decided” is a result. It is not the same as “equal”.
# - The ladder says that a network namespace by itself costs the kernel little. And the last column
#   says that what is added is *work*. So somebody runs a program more. A good suspect: the Docker
#   of this run hands a network namespace over by a *hook*, for which its own large program is
#   started once more beside every container. That is a hypothesis, not a finding. What would you
#   measure to test it?
#
# </details>

# %% [markdown]
# ### The whole way up
#
# Above the mechanisms stand the programs that put them together. This is the upper half of the
# ladder, on a scale of its own. (It is another run than the last one, so compare the lengths and
# not the totals.)

# %%
figure(ladder, "ladder-engines")

# %% [markdown]
# Now you can tell the story of the long way from a plain process to Docker.
#
# - **crun** is one small program in C. It makes the whole stack and is gone. Its time is the
#   kernel's, and much of it is that wait.
# - **runc** does the same in Go. Its runtime has threads before the first line of the program
#   runs, and a namespace must be entered by a single thread, so runc starts itself again, twice.
# - **containerd** keeps a record of each container on the disk, and starts a helper beside each
#   one, which calls runc.
# - **Docker** asks containerd, keeps a record of its own, mounts the image's layers and sets up a
#   network.
#
# No single mechanism is to blame. There are *programs that start programs*. Each has to be loaded,
# to set itself up, to read what it is to do and to hand it on. That is the work that you saw
# counted in section 4.

# %% [markdown]
# ## 6 · The machine that is none
#
# Back to `qemu`. Imagine a report that says:

# %%
found = medians(run, "startup.ready")["median"]
print(
    f"“A virtual machine takes {found['qemu']:.1f} seconds to start, a container "
    f"{found['crun'] * 1000:.0f} milliseconds. So virtual machines are "
    f"{found['qemu'] / found['crun']:.0f} times as slow.”"
)

# %% [markdown]
# Both numbers are in our data. What does tarebench say of the same comparison? Each line is one box
# beside `crun`: `better` is sooner, `worse` is later, and where there is no conclusion the last
# column says why.

# %%
readable(ratios(run, "startup.ready", over="crun"))[["ratio", "low", "high", "verdict", "why"]]

# %% [markdown]
# <details><summary><b>What is wrong with the report? Talk about it, then open</b></summary>
#
# The host had no hardware virtualization that works, so QEMU *emulated* a processor: it read each
# instruction of the guest and did it by program, one after the other. In a virtual machine the
# guest's instructions run on the processor itself, at its speed. The number is real, and it is
# the price of emulation. It says nothing of virtual machines, whatever its size, and no more
# trials would change that. An interval tells how well we know *what we measured*. It cannot tell
# whether we measured the right thing.
#
# So tarebench hatches the row and refuses the verdict. The honest sentence is: “What a virtual
# machine costs is not decided on this host.”
#
# </details>
#
# What did others find, on hardware?

# %%
others = published_figures("startup")
machines = others[others["runtime_class"] == "virtual machine"]
medians_only = machines[machines["metric"].isin(["startup_p50", "startup_median"])]
columns = ["value", "span_from", "span_to", "source", "year"]
medians_only.set_index("runtime")[columns].rename(columns={"value": "seconds"})

# %% [markdown]
# Read the two `span` columns before you read the seconds. Two studies that both say “startup
# time” counted from different beginnings to different ends, and neither is ours. You may compare
# lines that share a span. Between the others there is no ranking.

# %% [markdown]
# ## 7 · What can you say now?
#
# Write **one sentence** with a number, an interval and the conditions under which it holds. Then
# run the cell: these are the sentences that tarebench allows itself for the same data.

# %%
for sentence in answers(run):
    print(f"• {sentence}\n")

# %% [markdown]
# Before you go, can you answer these?
#
# 1. Why the median and all the points, not the mean?
# 2. Someone took a hundred readings in one container. How many blocks is that?
# 3. Docker takes tenths of a second and crun does not. Which of them waits, and for what?
# 4. What can an emulated machine tell you about virtual machines?

# %% [markdown]
# ### Exercises
#
# Work these out from `ready` and `work` (section 4, in seconds), `run.values("startup.ready", …)`
# and `medians(run, "startup.ready")`. Each answer is checked, and none is told.
#
# - **together**: the names of the boxes that you cannot tell from bare metal: the intervals of
#   their READY overlap that of `bare`. A set, such as `{"crun", "runc"}`, without `bare` itself.
# - **unlucky**: how many times its median is the slowest trial of `bare`?
# - **waits**: the name of the box for which a processor works the smallest share of its time.
# - **more work**: how many times the work of `crun` does a processor do for `docker`?

# %%
answers_given = {
    "together": None,
    "unlucky": None,
    "waits": None,
    "more work": None,
}
spread = medians(run, "startup.ready").drop("bare")
ends = medians(run, "startup.ready").loc["bare"]
overlaps = (spread["low"] < ends["high"]) & (spread["high"] > ends["low"])
right = {
    "together": set(spread.index[overlaps]),
    "unlucky": float(bare.max() / bare.median()),
    "waits": (work / ready).idxmin(),
    "more work": float(work["docker"] / work["crun"]),
}
check_answers(answers_given, right)

# %% [markdown]
# ## 8 · Your own machine
#
# On Linux you can measure your own host; elsewhere, read on. `tarebench doctor` tells what yours
# can run, and the command that mends the rest. Bare metal needs no root; add
# `"--runtime", "crun"` and others where they work. The first run builds the image, which takes
# some minutes and a network. Set the flag to True, **predict first**, and run.

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
    both = {"the lesson's host": run, "mine": mine}
    tables = {name: readable(medians(one, "startup.ready")) for name, one in both.items()}
    display(pd.concat(tables)[["n", "median", "low", "high"]])

# %% [markdown]
# Two hosts, two runs: the difference between them is not only the box. Which conditions differ?
# `mine.manifest["host"]` and `mine.manifest["guards"]` tell, and
# `tarebench compare` says whether a verdict is allowed at all.
