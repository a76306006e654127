# %% [markdown]
# # What does memory cost, and why RSS lies
#
# “A container needs almost no memory, a virtual machine needs a lot.” How much, then? You ask the
# system, and it has at least four answers, which differ by factors. **What does one box hold in
# memory, and which of the numbers may you add up?**
#
# | minutes | what you do |
# |---|---|
# | 0 – 5 | four ways to count |
# | 5 – 15 | **predict** an idle box, then look |
# | 15 – 25 | why RSS lies: count the pages yourself |
# | 25 – 33 | **predict** what comes back |
# | 33 – 41 | **predict** what is shared |
# | 41 – 50 | exercises |
#
# Clear all outputs before you start.

# %%
# %matplotlib inline
from collections import Counter

import matplotlib.pyplot as plt
import pandas as pd

from harness.analysis import (
    check_answers,
    check_guesses,
    demo,
    medians,
    question,
    readable,
    speak,
)
from harness.report import figure, guess_figure, house_style

speak("en")
run = demo("memory")
MIB = 2**20
question(run)

# %% [markdown]
# ## 1 · Four ways to count
#
# | name | what is counted | whose view |
# |---|---|---|
# | RSS | every page that a process has mapped and that is in memory, whole | a process's |
# | PSS | the same, but a page that several have mapped is divided among them | a process's |
# | charged | what the kernel brought in on the box's account (its control group) | the kernel's |
# | host's fall | how much less free memory the host has per box | the host's |
#
# The first two look at page tables; the third is an account; the last does not care who it was.
# Charged and the host's fall are found in independent ways. Where they agree, both can be believed.
#
# The boxes: `bare,cgroup=on` is a plain process that has an account. `docker` includes the
# helper (the *shim*) that it keeps beside each container. The `qemu` rows are emulated machines.

# %% [markdown]
# ## 2 · Predict an idle box
#
# A box runs a program that only waits. What is charged to it, in bytes? A KiB is `2**10`, a MiB is
# `MIB`: write `3 * MIB`.

# %%
guesses = {
    "bare,cgroup=on": None,
    "crun": None,
    "docker": None,
    "qemu": None,
}
checked = check_guesses(run, "memory.charged", guesses, state="idle")
guess_figure(checked)

# %%
readable(checked)

# %% [markdown]
# Now the four counts side by side. Mind the scale: the squares are what `ps` would tell.

# %%
figure(run, "memory")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - For every box without exception, RSS is the largest of the numbers.
# - The plain process is charged hardly anything. Its program's file was in memory already, on
#   another account: *who touches a page first pays, who comes later rides free.*
# - crun and runc leave nothing behind them that would cost memory. What is charged there beyond the
#   plain process is mostly the kernel's own: namespaces, mounts, the control group itself.
# - Docker's box is an order of magnitude dearer, and the program in it is the same. It is the shim.
# - Where no diamond stands, the host's fall was too small to be told from its own variation.
#
# </details>
#
# The machines need a closer look. Their memory has two parts:

# %%
figure(run, "machine-memory")

# %% [markdown]
# The guest's RAM is what the guest's kernel has touched, and would be much the same on hardware.
# The rest belongs to QEMU, and here a good part of *that* is the emulator's, which keeps translated
# instructions. So a machine's total is **not decided on this host**; that it holds a kernel of its
# own is.

# %% [markdown]
# ## 3 · Why RSS lies
#
# Let us play the kernel. A program has a file of its own code and libraries, which is shared, and
# pages of its own, which are not. We start more and more of it and count in three ways. All that is
# needed is to write down which page each process has mapped.

# %%
shared = {("file", page) for page in range(100)}
processes = 30
counted = []
for number in range(1, processes + 1):
    mapped = [shared | {(process, page) for page in range(10)} for process in range(number)]
    users = Counter(page for pages in mapped for page in pages)
    counted.append(
        {
            "sum of RSS": sum(len(pages) for pages in mapped),
            "sum of PSS": sum(1 / users[page] for pages in mapped for page in pages),
            "in memory": len(set.union(*mapped)),
        }
    )
toy = pd.DataFrame(counted, index=pd.RangeIndex(1, processes + 1, name="processes"))

with house_style():
    picture, axes = plt.subplots(figsize=(8, 2.8))
    styles = {"sum of RSS": "-", "sum of PSS": "-", "in memory": "--"}
    colours = {"sum of RSS": "#D55E00", "sum of PSS": "#0072B2", "in memory": "black"}
    for name, style in styles.items():
        axes.plot(toy.index, toy[name], style, color=colours[name], label=name)
    axes.set(xlabel="processes", ylabel="pages")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The sum of PSS *is* what is in memory: every page is counted once, in pieces. The sum of RSS runs
# away, and sooner or later it is more than the machine has. But PSS has a flaw too:

# %%
alone, among_many = toy["sum of PSS"].iloc[0], toy["sum of PSS"].iloc[-1] / processes
pd.Series({"alone": alone, "among many": among_many}, name="PSS of one process").round(1).to_frame()

# %% [markdown]
# One process, unchanged, and its PSS falls because *others* started. So PSS may be added up, but
# tells little of a process by itself. In our run the boxes do what the toy does:

# %%
ways = {"RSS": "memory.rss", "PSS": "memory.pss", "charged": "memory.charged"}
counts = pd.DataFrame(
    {way: medians(run, metric, state="idle")["median"] / MIB for way, metric in ways.items()}
)
counts.assign(**{"RSS / charged": counts["RSS"] / counts["charged"]}).round(2)

# %% [markdown]
# ## 4 · Predict what comes back
#
# Now each box wrote the bytes below, every page with content of its own, and gave them back.
# How much came back *to the host's account*, in bytes? `qemu,balloon=reporting` is a machine whose
# guest tells the host from time to time which pages are free. Before you look: and how much
# from an ordinary machine, `qemu`?

# %%
run.manifest["scenario"]["experiments"]["memory"]["touched"]

# %%
guesses = {
    "crun": None,
    "docker": None,
    "qemu,balloon=reporting": None,
}
checked = check_guesses(run, "memory.returned", guesses, by="free", side="charged")
guess_figure(checked)

# %%
figure(run, "holding")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - From a process and from every container, all of it: there is one kernel, and a page that is
#   given back to it is free.
# - From an ordinary machine, **nothing**. The guest's kernel has the page back and the guest's
#   `free` shows it. The host sees pages that were once written. It cannot know that nobody needs
#   them.
# - The *balloon* is the way around: the host asks (`balloon=on`), or the guest reports by
#   itself (`balloon=reporting`).
# - This has nothing to do with emulation. It is the price of two kernels that do not talk.
#
# </details>

# %% [markdown]
# ## 5 · Predict what is shared
#
# Every box now reads the same files of the image. The first one brings them into memory. What is
# charged to *each further one*, in bytes?

# %%
guesses = {
    "crun": None,
    "docker": None,
    "qemu": None,
}
checked = check_guesses(run, "memory.cache.next", guesses, state="cache")
guess_figure(checked)

# %%
figure(run, "pagecache")

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# Containers of one image read the same files through one page cache; whoever comes second finds
# them there. Each machine has a page cache of its own, in its own RAM, and fills it again. On top
# of that, the host may keep what it read for the machine's disk.
#
# This is the better reason for “containers need less memory”: not that a single one is small, but
# that *the second one is smaller*.
#
# </details>

# %% [markdown]
# ## 6 · Exercises
#
# From `counts` (MiB) and `toy` (pages):
#
# - **factor**: how many times its charged memory does an idle Docker box's RSS show?
# - **largest**: which count is the largest in every row: `"RSS"`, `"PSS"` or `"charged"`?
# - **too much**: how many of the toy's 30 processes does it take until the sum of RSS is
#   more than five times what is in memory?
# - **keeps all**: the names of the boxes that gave back nothing when they freed, as a set. (Look
#   at `medians(run, "memory.returned", by="free", side="charged")`: the whole interval is at or
#   below zero.)

# %%
answers = {
    "factor": None,
    "largest": None,
    "too much": None,
    "keeps all": None,
}
returned = medians(run, "memory.returned", by="free", side="charged")
right = {
    "factor": float(counts["RSS"]["docker"] / counts["charged"]["docker"]),
    "largest": counts.idxmax(axis="columns").mode()[0],
    "too much": int((toy["sum of RSS"] > 5 * toy["in memory"]).idxmax()),
    "keeps all": set(returned.index[returned["high"] <= 0]),
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence**: what does an idle container cost? Say which count you mean, and why.

# %% [markdown]
# ## 7 · Your own machine
#
# On any Linux, without root: the kernel tells each process its own RSS and PSS. Set the flag to
# True and **predict first**: ten Pythons that wait, and their sums.

# %%
MEASURE = False

if MEASURE:
    import subprocess
    import sys
    from pathlib import Path

    program = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sleepers = [subprocess.Popen(program, **pipes) for _ in range(10)]
    for sleeper in sleepers:
        sleeper.stdout.readline()  # it is up
    sums = {"Rss": 0, "Pss": 0}
    for sleeper in sleepers:
        rollup = Path(f"/proc/{sleeper.pid}/smaps_rollup").read_text()
        for line in rollup.splitlines():
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    for sleeper in sleepers:
        sleeper.communicate("\n")
    print({name: f"{kib / 1024:.1f} MiB" for name, kib in sums.items()})
