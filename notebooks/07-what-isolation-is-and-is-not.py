# %% [markdown]
# # What isolation is and is not
#
# A box keeps programs apart. “Isolated”, says one advertisement; “fully isolated”, says the next.
# **What exactly is kept apart, by what, and how would you find out?**
#
# Nobody can measure *secure*. What can be found out are facts: what a program in the box sees,
# what it may do, and what is its own. A small probe went into every box of this run and looked
# around, once as the box's root and once as an ordinary user, while on the host there was something
# to be found.
#
# | minutes | what you do |
# |---|---|
# | 0 – 5 | see, may, own |
# | 5 – 14 | **predict** what is left of root |
# | 14 – 22 | **predict** how much of the kernel can be reached |
# | 22 – 32 | break out of a jail, and **predict** who else is broken out of |
# | 32 – 40 | read the matrix |
# | 40 – 45 | what isolation is not |
# | 45 – 50 | exercises |
#
# Clear all outputs before you start.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import pandas as pd

from harness.analysis import (
    check_answers,
    check_guesses,
    demo,
    fact_table,
    medians,
    question,
    readable,
    speak,
)
from harness.report import figure, guess_figure, house_style

pd.set_option("display.max_colwidth", None)
speak("en")
run = demo("isolation")
facts = fact_table(run)
question(run)

# %% [markdown]
# ## 1 · See, may, own
#
# There is no thing “container” in the Linux kernel (lesson 02), and so there is no thing
# “isolation” either. Several mechanisms each take something away:
#
# | mechanism | takes away |
# |---|---|
# | `chroot`, `pivot_root` | the sight of other files |
# | namespaces | the sight of other processes, networks, mounts, names |
# | capabilities | parts of root's power |
# | seccomp | system calls |
# | control groups | the use of more than a share: another subject, lesson 06 |
# | a kernel of its own | everything that is said to a kernel at all |
#
# These boxes were looked into. Each has its class, and what it does is one line or several of
# that table:

# %%
kinds = medians(run, "isolation.kernel")[["class"]]
kinds.join(facts.drop(columns="what").loc[["kernel", "namespace"]].T)

# %% [markdown]
# ## 2 · Predict: what is left of root
#
# Root may do everything: that was so once. Linux has cut root's power into pieces, the
# *capabilities*: one to set the clock, one to load a module, one to open any file, and so on: more
# than ten of them, and fewer than a hundred.
#
# How many does root have in each of these boxes?

# %%
guesses = {
    "bare": None,
    "chroot": None,
    "crun": None,
    "docker": None,
}
root = {"set": "effective", "view": "root"}
guess_figure(check_guesses(run, "isolation.capabilities", guesses, **root))

# %%
readable(check_guesses(run, "isolation.capabilities", guesses, **root))[["guess", "median", "off"]]

# %% [markdown]
# These are counts with nothing random in them: whoever looks again finds the same, and no interval
# is needed. Which are they that a container's root keeps? The probe noted the names:

# %%
noted = run.trials.groupby("runtime", observed=True)["conditions"].last()


def names(box: str, fact: str) -> set[str]:
    """What the probe wrote down beside a count: a set of names."""
    return set(noted[box][f"isolation.{fact}"].split(", "))


kept = names("crun", "capabilities.effective.root")
lost = names("bare", "capabilities.effective.root") - kept
pd.DataFrame(
    {"capabilities": [", ".join(sorted(kept)), ", ".join(sorted(lost))]}, index=["kept", "lost"]
)

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - The jail's root has **all** of them. `chroot` changes what is called `/`, and nothing else.
# - `crun` and `docker` leave the same set, the one that Docker once chose. It is a compromise:
#   programs in images expect to become another user (`setuid`), to own files of others
#   (`chown`), to listen on a low port.
# - `mknod` is among those kept: a container's root may make a node for the host's disk. Can it
#   *open* it? The matrix will tell, and it is another mechanism that says no.
# - `sys_admin` is lost, the largest piece of all: to mount, and much else. A container that
#   is started “privileged” gets it back, and everything on this list with it.
#
# </details>

# %% [markdown]
# ## 3 · Predict: how much of the kernel can be reached
#
# Whoever wants to break out of a container looks for a fault in the kernel, because the kernel is
# shared. It can be spoken to by *system calls*. The probe made each that does no harm, with
# impossible arguments: does the kernel look at the arguments, or does it refuse the call itself?
#
# How many system calls answer root? (Bare metal has some hundreds.)

# %%
guesses = {
    "bare": None,
    "crun": None,
    "crun,seccomp=on": None,
    "docker": None,
}
guess_figure(check_guesses(run, "isolation.calls", guesses, view="root"))

# %%
checked = check_guesses(run, "isolation.calls", guesses, view="root")
readable(checked)[["guess", "median", "off"]]

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - Namespaces and capabilities take away *hardly any* system call. They change what a call is
#   about, and whether it is granted.
# - The filter (*seccomp*) takes calls away before the kernel does anything for them. Here crun has
#   none unless it is asked for one; Docker always has.
# - Even so, most of the kernel can be spoken to from every container. That is what “shares the
#   kernel” means in practice.
# - Is one box with fewer calls safer than one with more? Not by counting: **one** faulty call is
#   enough, and the filter was made to take away the seldom used and the dangerous. A count shows
#   how large the door is, not what comes through it.
#
# </details>

# %% [markdown]
# ## 4 · Break out of a jail
#
# “An intruder in a chroot jail is shut in.” Let us see how it works, with a toy. The kernel keeps
# two pointers for each process: where its root is, and where it stands. `..` leads upwards, **but
# not above the root**: whoever stands *on* the root stays there. That is the whole jail.

# %%
TREE = {"/": None, "home": "/", "jail": "home", "inner": "jail"}  # each folder, and what it is in


class Process:
    """Two pointers into the tree, as the kernel has them, and how they moved."""

    def __init__(self, root: str, here: str) -> None:
        self.root, self.here = root, here
        self.trail = [("start", root, here)]

    def up(self) -> None:
        """`cd ..`: the only place where the root is looked at."""
        if self.here not in (self.root, "/"):
            self.here = TREE[self.here]
        self.trail.append(("up", self.root, self.here))

    def chroot(self, folder: str) -> None:
        """Moves the root. It does not move the process."""
        self.root = folder
        self.trail.append((f"chroot\n{folder}", self.root, self.here))


def draw(process: Process) -> None:
    """Every step from left to right: a square around the root, a dot where the process stands."""
    level = {folder: number for number, folder in enumerate(TREE)}
    with house_style():
        _, axes = plt.subplots(figsize=(8, 2.3))
        for step, (_, root, here) in enumerate(process.trail):
            axes.plot(
                [step] * len(level), list(level.values()), color="#a9b0b7", marker=".", zorder=0
            )
            axes.scatter(
                step, level[root], s=190, marker="s", facecolor="none", edgecolor="#A86200"
            )
            axes.scatter(step, level[here], s=50, color="#0072B2")
        axes.set_xticks(range(len(process.trail)), [call for call, _, _ in process.trail])
        axes.set_yticks(list(level.values()), list(level))
        axes.margins(x=0.1, y=0.2)
        axes.invert_yaxis()
        axes.spines[["top", "right", "bottom"]].set_visible(False)


prisoner = Process(root="jail", here="jail")
for _ in range(3):
    prisoner.up()
draw(prisoner)

# %% [markdown]
# From left to right: the square is the prisoner's root, the dot is where he stands. The jail holds:
# `..` at the root leads nowhere. **Stop here and try.** You are root in the jail, so you may call
# `chroot` yourself. There is a folder `inner` in it. Which one call lets `up` climb to `/`? Write
# it between the two lines.

# %%
prisoner = Process(root="jail", here="jail")
# your call here
for _ in range(3):
    prisoner.up()
draw(prisoner)

# %% [markdown]
# <details><summary><b>Only when you have it, or give up</b></summary>
#
# `prisoner.chroot("inner")`. The root moves *below* the place where the process stands. On its
# way up it never stands on its root, so nothing ever stops it. No fault in the kernel is needed:
# it does what it promises, and a jail was never promised. `chroot` was made to build software in a
# clean folder.
#
# </details>
#
# Would it work elsewhere? On the host there lay a file, outside of every box, whose content only
# that trial knew. The probe tried this very way out, as root, in a box that was thrown away after
# it. **Predict**: in which of these boxes was the file read?

# %%
tried = medians(run, "isolation.escape")
list(tried.index)

# %%
answers = {"read in": None}  # a set, such as {"crun", "qemu"}
escaped = set(tried.index[tried["median"] > 0])
check_answers(answers, {"read in": escaped})

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# Those who know the toy name the `chroot` alone, and so it is. `bwrap` is also a jail by its class,
# and holds: it calls `pivot_root`, which *exchanges* the root of a mount namespace of its own, so
# that above it there is nothing left to climb to. The containers do the same. In a machine, the
# climb ends in the guest's own `/`.
#
# What the test shows is that **this way** is shut. That there is no other it does not show, and no
# number of tests will. An escape that succeeds is a proof; one that fails is one way less.
#
# </details>

# %% [markdown]
# And the ordinary user in the same jail? The `user` view of three facts, for the jail and its
# neighbours:

# %%
ways = {"disk": "open the host's disk", "log": "read the kernel's log", "loopback": "loopback"}
views = {
    (words, view): medians(run, f"isolation.{fact}", view=view)["median"]
    for fact, words in ways.items()
    for view in ("root", "user")
}
pd.DataFrame(views).loc[["bare", "chroot", "bwrap", "crun"]].astype(int).replace(
    {0: "no", 1: "yes"}
)

# %% [markdown]
# So the sentence about the intruder is *half* true: shut in is who is not root. Most of what holds
# him is what holds any user of the host; the jail adds the files. And what listens on the
# loopback is within his reach.

# %% [markdown]
# ## 5 · Read the matrix
#
# Now all facts at once. Dark is “as on the host”. Light is “kept apart, or of its own”. A machine
# that is emulated is hatched: its *times* say nothing of virtual machines, but whose kernel
# answers does not depend on time.

# %%
figure(run, "isolation")

# %% [markdown]
# From the chart, in pairs:
#
# 1. Which boxes are as dark as bare metal almost everywhere?
# 2. What does `docker,network=host` share that `docker` does not?
# 3. Which rows are dark for every box but the machines, with or without a filter?
# 4. In the machines' columns some cells have no shade at all. Why?
#
# The answers in words, for three of the columns:

# %%
facts[["what", "chroot", "docker", "qemu"]]

# %% [markdown]
# <details><summary><b>Talk about it, then open</b></summary>
#
# - The `chroot` is bare metal with another `/`. It sees the host's processes, reads its log, and
#   its root opens the host's disk.
# - The host's network is one wall less: its interfaces are seen, and its loopback is reached, where
#   services often trust whoever knocks.
# - *Root inside is root outside*: none of these boxes has a user namespace, so its root is user 0
#   of the host, held only by what the rows below take away. User namespaces (“rootless”) change
#   this row.
# - A machine's root has all capabilities and can load modules: of *its own* kernel. That says
#   nothing of the host, so it has no shade.
#
# </details>

# %% [markdown]
# ### What one option changes
#
# Two columns side by side, only the rows that differ: Docker, and Docker on the host's network.

# %%
pair = facts[["what", "docker", "docker,network=host"]]
pair[pair["docker"] != pair["docker,network=host"]]

# %% [markdown]
# ## 6 · What isolation is not
#
# - **No scale.** Rows are different things. Do not add them up, and do not rank boxes by the number
#   of light cells.
# - **No property of the name.** “Docker” with the host's network is another column than Docker.
#   A privileged container would be nearly as dark as bare metal. Say the configuration.
# - **Not the same as a limit.** A box that sees nothing can still use everything: next row.
# - **No proof of safety.** A kernel of its own moves the boundary: below the machine lies a
#   monitor, a program on the host with faults of its own, and devices that it plays. None of these
#   was attacked here. That a wall is elsewhere is a fact; that it is stronger is an argument.

# %%
facts.drop(columns="what").loc[["limits"]].T

# %% [markdown]
# ## 7 · Exercises
#
# From `facts`, `medians(run, …)` and `names(box, fact)`:
#
# - **left**: which share of the capabilities of bare metal's root does the root of `docker` keep?
# - **filtered**: how many system calls does the filter take from the root of `crun`?
# - **differ**: how many rows of `facts` differ between `docker` and `docker,network=host`?
# - **no limits**: the names of the boxes that run in no control group of their own, as a set.
# - **by the filter**: the names (the index of `facts`) of all rows that differ between `crun` and
#   `crun,seccomp=on`, as a set. Some are no counts of calls. Why do they change?

# %%
capabilities = medians(run, "isolation.capabilities", **root)["median"]
calls = medians(run, "isolation.calls", view="root")["median"]
limited = medians(run, "isolation.limits")["median"]
changed = facts.index[facts["crun"] != facts["crun,seccomp=on"]]
answers = {
    "left": None,
    "filtered": None,
    "differ": None,
    "no limits": None,
    "by the filter": None,
}
right = {
    "left": float(capabilities["docker"] / capabilities["bare"]),
    "filtered": float(calls["crun"] - calls["crun,seccomp=on"]),
    "differ": int((facts["docker"] != facts["docker,network=host"]).sum()),
    "no limits": set(limited.index[limited == 0]),
    "by the filter": set(changed),
}
check_answers(answers, right)

# %% [markdown]
# Then **one sentence**: is a container less isolated than a machine? Name the row that you mean,
# and the configuration.

# %% [markdown]
# ## 8 · Your own machine
#
# On any Linux, without root: which box does *this notebook* run in? Set the flag to True and
# **predict first**. Compare with the columns above: which of them do you resemble?

# %%
MEASURE = False

if MEASURE:
    from pathlib import Path

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    me = {
        "capabilities I have": int(status["CapEff"], 16).bit_count(),
        "within reach (bounding)": int(status["CapBnd"], 16).bit_count(),
        "no new privileges": status["NoNewPrivs"].strip(),
        "filter on system calls": status["Seccomp"].strip() != "0",
        "processes I see": len([p for p in Path("/proc").iterdir() if p.name.isdigit()]),
        "the first of them": Path("/proc/1/comm").read_text().strip(),
        "users that I am root of": " ".join(Path("/proc/self/uid_map").read_text().split()),
        "interfaces": ", ".join(sorted(p.name for p in Path("/sys/class/net").iterdir())),
    }
    print(pd.Series(me).to_string())
