"""The second phase: trains the whole network, and validates, records and saves every epoch before the next one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from vegrt.errors import DivergedError
from vegrt.files.text import as_utf8
from vegrt.terminal.interrupts import Interrupted, noting_interrupts
from vegrt.terminal.progress import track
from vegrt.train.data.loader import Samples, epoch_batches, make_data_loader, ordered_batches
from vegrt.train.history.mistakes import Explanation, Mistake
from vegrt.train.history.records import EpochRecord, TrainingProgress
from vegrt.train.history.runs_db import Recorder
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.learner import Learner, learning_rate
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.loop.validation import ValidationResult, concatenate, validate
from vegrt.train.recipe import Recipe

log = logging.getLogger(__name__)

EpochCallback = Callable[[EpochRecord], None]

VALIDATION_BATCH = 64
HARDEST = 24  # number of photos of the highest loss that are recorded
MISTAKES = 200  # number of wrongly answered photos that are recorded, worst first


class StopTraining(Exception):
    """Raised by an epoch callback to end the training."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The parts of a training. train: augmented photos. validation: photos as in inference.

    on_epoch: called with every finished epoch; it may raise StopTraining to end the training.
    """

    learner: Learner
    recipe: Recipe
    classes: tuple[str, ...]
    train: Samples
    validation: Samples
    progress: TrainingProgress
    checkpoints: Checkpoints
    recorder: Recorder
    processes: ProcessGroup
    on_epoch: EpochCallback

    def run(self) -> None:
        """Train until the recipe's last epoch, or until patience ends the training.

        Raises DivergedError for a loss or gradient that is not finite; the best checkpoint stays. After Ctrl-C, or SIGTERM
        where it is handled like Ctrl-C, saves after the current step and raises KeyboardInterrupt; a second one interrupts at
        once.
        """
        with noting_interrupts() as interrupted:
            while not self._finished():
                self._epoch(interrupted)

    def outlook(self) -> str:
        """Return one line with the number of photos, epochs and steps, and the position where the training continues."""
        recipe, progress = self.recipe, self.progress
        steps = len(epoch_batches(len(self.train.photos), recipe.batch_size, seed=0, epoch=1))
        head = f"{recipe.epochs_head} epochs of the head, then " if recipe.epochs_head else ""
        started = bool(progress.epochs or progress.sums.steps)
        position = f"; continuing in epoch {len(progress.epochs) + 1} after step {progress.sums.steps}"
        return (
            f"{recipe.backbone}: {len(self.train.photos)} photos of {len(self.classes)} classes, "
            f"{len(self.validation.photos)} for validation; {head}{recipe.epochs} epochs of {steps} steps of "
            f"{recipe.batch_size} photos{position if started else ''}"
        )

    def add(self, record: EpochRecord) -> bool:
        """Record a finished epoch with the numbers of the first process. Return whether it is the best so far."""
        record = self.processes.gather([record])[0]
        self.recorder.epoch(record)
        log.info(
            "epoch %d (%s): loss %.4f, validation loss %.4f, accuracy %.4f, %.1f images/s",
            record.epoch,
            record.phase,
            record.train_loss,
            record.validation_loss,
            record.validation_accuracy,
            record.images_per_s,
        )
        better = self.progress.add(record)
        self.on_epoch(record)
        return better

    def save(self, *, best: ValidationResult | None) -> None:
        """Save the resume state; before it, the weights and mistakes of this epoch if it is the best.

        Only the first process writes.
        """
        if not self.processes.is_first:
            return
        if best is not None:
            self.checkpoints.save_best(self.learner.evaluated_weights())
            self.recorder.explain(self._explanation(best))
        self.checkpoints.save_last(self.learner.state(), self.progress)

    def validate(self) -> ValidationResult:
        """Return the result on the validation split; each process evaluates a part of it."""
        self.processes.align(self.learner.evaluation_model)
        portion = self.processes.portion(ordered_batches(len(self.validation.photos), VALIDATION_BATCH))
        result = validate(
            self.learner.evaluation_model,
            make_data_loader(self.validation, portion, self.recipe.workers),
            self.learner.device,
        )
        return concatenate(self.processes.gather([result]))

    def _finished(self) -> bool:
        if 0 < self.recipe.patience <= self.progress.stale_epochs():
            log.info("stopped: no lower validation loss for %d epochs", self.recipe.patience)
            return True
        return len(self.progress.epochs) >= self.recipe.epochs_head + self.recipe.epochs

    def _epoch(self, interrupted: Interrupted) -> None:
        epoch, sums = len(self.progress.epochs) + 1, self.progress.sums
        batches = epoch_batches(len(self.train.photos), self.recipe.batch_size, seed=self.recipe.seed, epoch=epoch)
        shares = [self.processes.share(batch) for batch in batches[sums.steps :]]
        remaining = make_data_loader(self.train, shares, self.recipe.workers)
        last_time = time.perf_counter()
        for images, labels in track(remaining, f"epoch {epoch}", len(batches) - sums.steps):
            rate = self._rate(epoch, sums.steps, len(batches))
            step = self.learner.step(images, labels, lr=rate, seed=batches[sums.steps][0].seed + self.processes.rank)
            if not step.is_finite():
                raise self._diverged(f"step {sums.steps + 1} of epoch {epoch}", rate)
            sums.add(len(labels) * self.processes.size, step.loss, step.correct, step.gradient_norms)
            last_time, previous_time = time.perf_counter(), last_time
            sums.seconds += last_time - previous_time
            if self.processes.any(interrupted.noted):
                self._interrupt(epoch)
        result = self.validate()
        rate = self._rate(epoch, len(batches) - 1, len(batches))
        if not math.isfinite(result.loss):
            raise self._diverged(f"the validation after epoch {epoch}", rate)
        better = self.add(sums.finish(epoch, "all", result.loss, result.accuracy, rate))
        self.save(best=result if better else None)

    def _rate(self, epoch: int, step: int, steps: int) -> float:
        steps_before = (epoch - self.recipe.epochs_head - 1) * steps + step
        return learning_rate(steps_before, self.recipe.epochs * steps, self.recipe.lr, self.recipe.warmup)

    def _diverged(self, moment: str, rate: float) -> DivergedError:
        best = self.progress.best_epoch
        outcome = (
            f"the weights of epoch {best} are in {self.checkpoints.best}" if best else "no epoch was finished before it"
        )
        return DivergedError(
            f"loss or gradient is not finite at {moment} (lr {rate:.2g}); {outcome}; train with a lower lr"
        )

    def _interrupt(self, epoch: int) -> None:
        self.save(best=None)
        log.warning(
            "interrupted in epoch %d after step %d, saved in %s",
            epoch,
            self.progress.sums.steps,
            self.checkpoints.folder,
        )
        self.processes.wait()  # torchrun stops all processes when one ends, even the one that is writing
        raise KeyboardInterrupt

    def _explanation(self, result: ValidationResult) -> Explanation:
        order = result.hardest(len(result.labels))
        wrong = [index for index in order if result.answers[index] != result.labels[index]]
        return Explanation(
            classes=self.classes,
            confusion=tuple(map(tuple, result.confusion(len(self.classes)))),
            hardest=tuple(self._mistake(result, index) for index in order[:HARDEST]),
            mistakes=tuple(self._mistake(result, index) for index in wrong[:MISTAKES]),
        )

    def _mistake(self, result: ValidationResult, index: int) -> Mistake:
        photo = self.validation.photos.photos[index]
        return Mistake(
            photo=as_utf8(photo.path.absolute()),
            label=self.classes[photo.label],
            answer=self.classes[int(result.answers[index])],
            loss=result.losses[index].item(),
        )
