# %% [markdown]
# # Where does start-up time go?
#
# A box is asked for, and some time later it is ready. In lesson 01 we measured how long that
# takes. Now we take the time apart. **Which part of the way costs what, and how can you know,
# when nobody can stop the kernel and look?**
#
# The trick is a ladder. We build a container by hand, one mechanism more at each rung, and
# measure each rung as a box of its own. What a rung takes *more* than the one below it is what
# its mechanism costs.
#
# | minutes | what you do |
# |---|---|
# | 0 – 6 | the ladder |
# | 6 – 16 | **predict** four rungs, then look |
# | 16 – 26 | the wait that comes in steps |
# | 26 – 36 | **predict** the programs above the kernel |
# | 36 – 44 | **predict** a machine's phases, and mind what it is |
# | 44 – 50 | exercises |
#
# Clear all outputs before you start, and go from top to bottom.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from harness.analysis import (
    by_block,
    check_answers,
    check_guesses,
    demo,
    guesses_beside,
    medians,
    phase_table,
    question,
    readable,
    rung_table,
    speak,
)
from harness.report import figure, guess_figure, house_style

pd.set_option("display.max_colwidth", None)
speak("en")
ladder = demo("ladder")
question(ladder)

# %% [markdown]
# ## 1 · The ladder
#
# “Container” is no thing that the Linux kernel has. It has separate mechanisms, and a container
# is a process that has been put behind most of them:
#
# | mechanism | what it does |
# |---|---|
# | `chroot`, `pivot_root` | another folder is the root `/` |
# | namespaces | the process sees its own mounts, host name, processes, network |
# | mounts | `/proc`, `/dev` and others are put in place |
# | control group | what the process uses is counted and limited |
# | capabilities, seccomp | what even its root may do, and which system calls it may make |
#
# This is the order in which our ladder stacks them, and the box that each rung stands over:

# %%
rungs = rung_table(ladder)
kernel = rungs[rungs["main"] & rungs["runtime"].str.startswith("spawn")]
kernel[["over"]]

# %% [markdown]
# ## 2 · Predict four rungs
#
# What does each of these *add*, in seconds? The first rung, fork and exec, takes about a
# thousandth of a second with nothing around it. One of the four is not like the others.

# %%
guesses = {
    "mounts": None,
    "PID namespace": None,
    "network namespace": None,
    "control group": None,
}
checked = guesses_beside(rungs, guesses, "added")
guess_figure(checked)

# %%
readable(checked)

# %% [markdown]
# The diamond is your guess, the dot is what we measured, the band is its interval. The scale is
# one of ratios: twice too much is as far off as half. Now the whole lower half of the ladder. Each
# bar begins where the one before it ends.

# %%
figure(ladder, "ladder-mechanisms")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Namespaces look like the heart of a container, and they are nearly free: the kernel makes a
#   few small structures and changes pointers. The network namespace is the dearest of them,
#   for it brings a loopback device and empty tables of its own, and it still costs little.
# - Mounts cost more than the namespace that they happen in: each is a system call with work
#   behind it.
# - The control group costs more than everything below it together. It is not the folders that are
#   made for it. It is *putting a process in*.
# - Where an interval crosses zero, these data do not tell whether the rung costs anything.
#
# </details>

# %% [markdown]
# ## 3 · The wait that comes in steps
#
# Why is one rung so dear? Do not look at the median only. Here is every trial of every box of the
# ladder that was built by hand: above, those with a control group; below, those without.

# %%
trials = by_block(ladder, "ladder.ready") * 1000
by_hand = [name for name in trials if name.startswith("spawn")]
grouped = [name for name in by_hand if "+cgroup" in name.partition("with=")[2]]
plain = [name for name in by_hand if name not in grouped]
with_group = trials[grouped].stack()
without = trials[plain].stack()

with house_style():
    picture, rows = plt.subplots(2, 1, figsize=(8, 3.4), sharex=True)
    bins = np.arange(0, 30, 0.5)
    for axes, values, title in zip(
        rows, (with_group, without), ("with a control group", "without"), strict=True
    ):
        axes.hist(values, bins=bins, color="#0072B2", alpha=0.8)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_ylabel("trials")
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("milliseconds until READY")
    picture.tight_layout()

# %% [markdown]
# **Look before you read on.** Work that a processor does takes a little more or a little less, and
# makes one hill. What do you see above?
#
# The trials gather at a few places that are about equally far apart. That is no work. That is
# *waiting for a clock*. While a process is moved into a control group, none may be born or end,
# and the lock for that is made to cost forks and exits next to nothing. The mover pays: it waits
# until every processor has passed a point from which on it sees the lock, an *RCU grace period*.
# The kernel notices that one has ended when its timer ticks, so waits come out in whole ticks.
#
# How far apart are the steps? Try a few distances: fold all trials at that distance, and
# see at which one they fall on each other. `1` would be all of them at the same place, `0` none.

# %%
apart = np.arange(1.5, 8.01, 0.05)
turns = np.exp(2j * np.pi * with_group.to_numpy()[None, :] / apart[:, None])
gathered = np.abs(turns.mean(axis=1))

with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.3))
    axes.plot(apart, gathered, color="#0072B2")
    axes.set(xlabel="distance, milliseconds", ylabel="gathered", ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The clearest peak is the distance between steps. (The lower ones, at its half, its double and
# between, are the same thing seen again.) A kernel whose timer ticks 250 times a second has a tick
# every four thousandths of one. That our host's does is a hypothesis, and a checkable one: its
# configuration says so (`CONFIG_HZ`).
#
# What a median of such data says: *which step the middle trial fell on*. That is why the last two
# rungs of the ladder seem to give time back and take it again. Nothing got quicker; the middle
# trial fell on another step. **A difference of medians is only as good as the shape below it.**

# %%
readable(kernel.tail(3)[["added", "low", "high"]])

# %% [markdown]
# ## 4 · Predict the programs
#
# So far no program made the container but a small one of ours. Now those that you know. How long
# until READY, in seconds? `crun` and `runc` make the container and leave. `containerd` keeps a
# record and calls `runc`. Docker calls `containerd`.

# %%
guesses = {
    "crun": None,
    "runc": None,
    "containerd": None,
    "Docker, no network": None,
    "Docker, bridge": None,
}
checked = guesses_beside(rungs, guesses, "ready")
guess_figure(checked)

# %%
readable(checked)

# %%
figure(ladder, "ladder-engines")

# %% [markdown]
# The last rung is the `docker` command itself, which most published numbers have inside.
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Everything that the kernel does for a container is the short piece at the left. Docker's time
#   is mostly not the kernel's.
# - The steepest step is from containerd to Docker *without any network to set up*. Programs
#   that start programs: each is loaded, reads what it is to do, writes a record, hands on.
# - The host's network is much quicker than none at all: “none” is a network namespace too, and
#   somebody has to be started to make it.
# - For the bridge and for the `docker` command, the intervals cross zero. These blocks do not
#   decide what they cost; more blocks could.
#
# </details>

# %% [markdown]
# ## 5 · Predict a machine's phases
#
# A machine has to come up before a program can run in it: the machine monitor is started (VMM),
# then firmware, then the guest's kernel, then the first program. Two machines: an ordinary one,
# and QEMU's `microvm`, which has no firmware to speak of and few devices.
#
# **Mind what you look at.** This host could not run guests on its processor; the machines were
# *emulated*. Their seconds are the price of emulation. What may be read is the order of the
# phases, and with care, what a part that falls away was worth *here*.
#
# Guess for the ordinary machine (`qemu`) how long after its start the guest's kernel began, and
# for both how long until READY, in seconds.

# %%
phases = demo("phases")
guesses = {"qemu": None}
begun = check_guesses(phases, "phases.kernel", guesses)
guess_figure(begun)

# %%
guesses = {"qemu": None, "qemu,machine=microvm": None}
ready = check_guesses(phases, "startup.ready", guesses)
guess_figure(ready)

# %%
readable(phase_table(phases))

# %%
names = {"phases.firmware": "firmware", "phases.kernel": "kernel", "phases.init": "first program"}
marks = {name: medians(phases, metric)["median"] for metric, name in names.items()}
(pd.DataFrame(marks) * 1000).round(0).rename_axis("milliseconds")

# %% [markdown]
# The first table is the host's view, the second is told by the guest: the moments at which its
# firmware, its kernel and its first program began to run, counted from the request. In an emulated
# machine most of the time lies between the last two: the kernel's own start is instructions,
# and here each was translated by a program.
#
# <details><summary><b>Talk about it, then open</b></summary>
#
# - “microvm is so much quicker because it has no firmware”: see how small the firmware's share
#   is here. The saving lies more in what the kernel does not have to look for. On hardware the
#   proportions are others, because instructions become cheap and waiting for devices does not.
# - So “where does a virtual machine's time go” is **not decided on this host**. Run
#   `tarebench run phases` where `tarebench doctor` says that KVM works.
#
# </details>

# %% [markdown]
# ## 6 · Exercises
#
# Work them out from `rungs` (seconds; columns `ready` and `added`) and `trials` (milliseconds).
# Each answer is checked and none is told.
#
# - **dearest**: the name of the rung of the whole table that adds most.
# - **share**: which share of the READY of `Docker, bridge` does `seccomp` take, the top of the
#   kernel's part? A number between 0 and 1.
# - **undecided**: the names of the rungs of `kernel` whose interval crosses zero, as a set.
# - **step**: the distance at which the trials of section 3 gather best, in milliseconds.

# %%
answers = {
    "dearest": None,
    "share": None,
    "undecided": None,
    "step": None,
}
right = {
    "dearest": rungs["added"].idxmax(),
    "share": rungs["ready"]["seccomp"] / rungs["ready"]["Docker, bridge"],
    "undecided": set(kernel.index[(kernel["low"] < 0) & (kernel["high"] > 0)]),
    "step": float(apart[gathered.argmax()]),
}
check_answers(answers, right)

# %% [markdown]
# Then say it in **one sentence** each, with a number and its interval: what does the kernel cost a
# container? What does Docker?

# %% [markdown]
# ## 7 · Your own machine
#
# On Linux with root you can climb the ladder yourself; it takes some minutes. Set the flag to
# True and **predict first**: will your steps be as far apart as ours?

# %%
MEASURE = False

if MEASURE:
    import subprocess
    import sys

    from IPython.display import display

    from harness.analysis import load

    command = [sys.executable, "-m", "harness.cli", "run", "ladder"]
    folder = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    mine = load(folder)
    both = {"the lesson's host": rungs, "mine": rung_table(mine)}
    tables = {name: readable(table)[["added", "low", "high"]] for name, table in both.items()}
    display(pd.concat(tables, axis="columns"))
