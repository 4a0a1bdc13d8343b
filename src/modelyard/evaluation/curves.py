"""Pictures of a network's training and of how far its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modelyard.evaluation.canvas import BAR, BEST, QUIET, Picture, open_frame, render


def learning_picture(history: Sequence[Mapping[str, float]], best: int, score: str) -> Picture:
    """Loss and score over the epochs; the epoch whose weights were kept is marked."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        epochs = [entry["epoch"] for entry in history]
        left.plot(epochs, [entry["loss"] for entry in history], color=BAR, label="training rows, while learning")
        left.plot(epochs, [entry["validation_loss"] for entry in history], color=BEST, label="validation rows")
        left.set_ylabel("loss")
        left.legend(frameon=False)
        right.plot(epochs, [entry[f"validation_{score}"] for entry in history], color=BEST)
        right.set_ylabel(f"{score.replace('_', ' ')}, validation rows")
        for axes in (left, right):
            axes.axvline(best, color=QUIET, linewidth=1.0, linestyle=":")
            axes.set_xlabel(f"epoch (the weights of epoch {best} were kept)")
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.ticklabel_format(axis="y", useOffset=False)
        open_frame(left, right)

    return render(draw, (9.0, 3.8))


def scores_by_rows_picture(points: Sequence[Mapping[str, float]], family: str, metric: str) -> Picture:
    """A family's score by the rows that it learnt from, with its deviation over the folds; the last point is all of them."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows, means = [point["rows"] for point in points], [point["mean"] for point in points]
        axes.errorbar(rows, means, yerr=[point["std"] for point in points], color=BAR, ecolor=QUIET, marker="o", capsize=3)
        axes.plot(rows[-1:], means[-1:], color=BEST, marker="o", linestyle="none", zorder=5)
        axes.set_xscale("log")
        axes.set_xticks(rows, [f"{int(number):,}" for number in rows])
        axes.minorticks_off()
        axes.set_xlabel("rows learnt from")
        axes.set_ylabel(f"{metric.replace('_', ' ')}, mean and deviation")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_title(f"{family}: what more rows bring")
        open_frame(axes)

    return render(draw, (6.4, 3.8))


def calibration_picture(bins: Sequence[Mapping[str, float]], error: float) -> Picture:
    """How often the chosen class was right, against the probability that it was given."""

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        above.plot([0, 1], [0, 1], color=QUIET, linewidth=1.0, linestyle=":")
        above.plot([entry["confidence"] for entry in bins], [entry["accuracy"] for entry in bins], color=BEST, marker="o")
        above.set_ylabel("share that was right")
        above.set_title(f"Calibration, held-out rows (error {error:.3f})")
        below.bar([entry["confidence"] for entry in bins], [entry["rows"] for entry in bins], width=0.06, color=BAR)
        below.set_ylabel("rows")
        below.set_xlabel("probability given to the chosen class")
        below.set_xlim(0, 1)
        open_frame(above, below)

    return render(draw, (5.2, 5.2))
