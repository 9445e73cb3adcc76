"""The second phase: trains the whole network, and validates, records and saves every epoch before the next one."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vegrt.errors import DivergedError
from vegrt.terminal.interrupts import Interrupted, noting_interrupts
from vegrt.terminal.progress import track
from vegrt.train.data.loader import BatchLoader, ordered_batches, steps_per_epoch
from vegrt.train.data.samples import Samples
from vegrt.train.history.records import EpochRecord, TrainingProgress
from vegrt.train.history.runs_db import Recorder
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.epoch import Epoch, start_epoch
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.loop.transfer import on_device
from vegrt.train.loop.validation import ValidationResult, concatenate, validate
from vegrt.train.recipe import Recipe

log = logging.getLogger(__name__)

EpochCallback = Callable[[EpochRecord], None]

VALIDATION_BATCH = 64
STEPS_PER_READ = (
    20  # a GPU works without a pause while so many steps follow each other; their results are read together
)


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
        workers, device = self.recipe.workers, self.learner.device
        train, validation = (BatchLoader(samples, workers, device) for samples in (self.train, self.validation))
        with noting_interrupts() as interrupted:
            while not self._finished():
                epoch = start_epoch(self.recipe, len(self.progress.epochs) + 1, len(self.train.photos))
                self._take_steps(epoch, train, interrupted)
                self._end(epoch, self.validate(validation))

    def outlook(self) -> str:
        """Return one line with the number of photos, epochs and steps, and the position where the training continues."""
        recipe, progress = self.recipe, self.progress
        steps = steps_per_epoch(len(self.train.photos), recipe.batch_size)
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
            self.recorder.explain(best.explanation(self.classes, self.validation.photos))
        self.checkpoints.save_last(self.learner.state(), self.progress)

    def validate(self, loader: BatchLoader) -> ValidationResult:
        """Return the result on the validation split; each process evaluates a part of it."""
        self.processes.align(self.learner.evaluation_model)
        portion = self.processes.portion(ordered_batches(len(self.validation.photos), VALIDATION_BATCH))
        device = self.learner.device
        result = validate(self.learner.evaluation_model, on_device(loader.load(portion), device), device)
        return concatenate(self.processes.gather([result]))

    def _finished(self) -> bool:
        if 0 < self.recipe.patience <= self.progress.stale_epochs():
            log.info("stopped: no lower validation loss for %d epochs", self.recipe.patience)
            return True
        return len(self.progress.epochs) >= self.recipe.epochs_head + self.recipe.epochs

    def _take_steps(self, epoch: Epoch, loader: BatchLoader, interrupted: Interrupted) -> None:
        """Take the remaining steps of an epoch. Reads their results every STEPS_PER_READ steps, and before a state is saved."""
        done = self.progress.sums.steps
        shares = [self.processes.share(batch) for batch in epoch.batches[done:]]
        loaded = track(on_device(loader.load(shares), self.learner.device), f"epoch {epoch.number}", len(shares))
        for step, (images, labels) in enumerate(loaded, done):
            seed = epoch.batches[step][0].seed + self.processes.rank
            epoch.unread.append(self.learner.step(images, labels, lr=self._rate(epoch, step), seed=seed))
            is_read = len(epoch.unread) == STEPS_PER_READ or step + 1 == len(epoch.batches)
            stop = (is_read or self.processes.asks_cheaply) and self.processes.any(interrupted.noted)
            if is_read or stop:
                self._read(epoch)
            if stop:
                self._interrupt(epoch.number)

    def _rate(self, epoch: Epoch, step: int) -> float | Tensor:
        """Return the learning rate of a step. Skipped steps do not advance it, and only the device knows how many there were."""
        applied = self.learner.applied_steps
        return epoch.rate(step) if applied is None else epoch.schedule.rate_at(applied)

    def _read(self, epoch: Epoch) -> None:
        """Add the results of the unread steps to the sums. Raises DivergedError for one that is not finite."""
        sums = self.progress.sums
        for step in self.learner.read(epoch.unread):
            images = len(self.processes.share(epoch.batches[sums.steps])) * self.processes.size
            if step.is_skipped:
                sums.add_skipped(images, step.loss, step.correct)
            elif step.is_finite():
                sums.add(images, step.loss, step.correct, step.gradient_norms)
            else:
                raise self._diverged(f"step {sums.steps + 1} of epoch {epoch.number}", epoch.rate(sums.steps))
        if self.learner.has_underflowed():
            raise self._diverged(f"step {sums.steps} of epoch {epoch.number}", epoch.rate(sums.steps - 1))
        epoch.unread.clear()
        sums.seconds += epoch.seconds_since_read()

    def _end(self, epoch: Epoch, result: ValidationResult) -> None:
        """Record and save an epoch after its validation."""
        rate, sums = epoch.rate(len(epoch.batches) - 1), self.progress.sums
        if not math.isfinite(result.loss):
            raise self._diverged(f"the validation after epoch {epoch.number}", rate)
        if sums.skipped:
            log.info("epoch %d: skipped %d of %d steps: float16 overflowed", epoch.number, sums.skipped, sums.steps)
        better = self.add(sums.finish(epoch.number, "all", result.loss, result.accuracy, rate))
        self.save(best=result if better else None)

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
