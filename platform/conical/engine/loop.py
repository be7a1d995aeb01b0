"""The one training loop, for one process or many.

1. restore, if a checkpoint is given; else score val with the model as it was loaded
2. for each step: batch -> loss over the global batch -> gradient -> clip -> update -> moving average
3. after each epoch, or each `eval_steps`: score val, keep the best encoder, report (with a checkpoint)
4. end with the best encoder on val loaded

Batches, rates and random numbers (dropout) are functions of the step, so a run that goes on from a checkpoint of any
step is the undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conical.core.errors import ConfigError, UserError
from conical.core.seeds import derive_seed
from conical.distributed import max_over_ranks
from conical.engine.batches import Batch, BatchPlan
from conical.engine.checkpoint import Best, RunState, load_checkpoint, save_checkpoint
from conical.engine.gradient_cache import cached_backward
from conical.engine.moving_average import MovingAverage
from conical.engine.objective import Objective
from conical.engine.optimiser import build_optimiser, set_rates, share_of_peak
from conical.engine.options import OptimOptions
from conical.engine.selection import ValScore, refuse_test_metric
from conical.metrics import merit

# a clock is looked at, and ranks agree about it, once in so many steps
_STEPS_BETWEEN_LOOKS = 10


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What the loop says after scoring val.

    Args:
        epoch: passes over the training rows so far; 0 is the model as it was loaded, 1.5 the middle of the second.
        steps_done: optimiser steps behind the run.
        total_steps: of the whole run.
        val_metrics: metric names with the split in front, and their values.
        step_metrics: one row per step since the last report: `step` and the loss terms, rate and gradient norm.
        rows_per_second: of the global batch, since the last report.
        waiting_share: share of that time spent waiting for the next batch, in [0, 1].
        is_last: the run ends here.
        save: writes a checkpoint of this moment into a folder.
    """

    epoch: float
    steps_done: int
    total_steps: int
    val_metrics: dict[str, float]
    step_metrics: list[dict[str, float]] = field(default_factory=list)
    rows_per_second: float = 0.0
    waiting_share: float = 0.0
    is_last: bool = False
    save: Callable[[Path], None] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Step:
    """How one update is made.

    Args:
        optimiser: its groups carry their peak rates.
        max_grad_norm: gradients are clipped to this norm.
        chunk_size: rows whose forward pass is kept at once; 0: all.
        autocast: precision of the forward pass.
    """

    optimiser: torch.optim.Optimizer
    max_grad_norm: float
    chunk_size: int = 0
    autocast: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def __call__(self, wrapped: nn.Module, objective: Objective, batch: Batch, *, number: int) -> dict[str, Tensor]:
        """One update; returns the loss terms and the norm of the gradient before clipping.

        Args:
            wrapped: the objective, or DDP around it.
            number: of the step, for the message.

        Raises:
            UserError: a term or the gradient is not finite; the model is left as it was.
        """
        self.optimiser.zero_grad(set_to_none=True)
        if 0 < self.chunk_size < len(batch.texts):
            terms = cached_backward(wrapped, objective, batch, chunk_size=self.chunk_size, autocast=self.autocast)
        else:
            with self.autocast:
                terms = wrapped(batch)
            terms["loss"].backward()
        norm = nn.utils.clip_grad_norm_(wrapped.parameters(), self.max_grad_norm)
        seen = {**{name: value.detach() for name, value in terms.items()}, "grad_norm": norm.detach()}
        if not torch.isfinite(norm) or not torch.isfinite(seen["loss"]):
            wrong = ", ".join(f"{name} is {float(value)}" for name, value in seen.items() if not value.isfinite())
            raise UserError(
                f"{wrong} at step {number}: lower optim.learning_rate or the scales; the weights before this step are "
                "in the run's last checkpoint"
            )
        self.optimiser.step()
        return seen


def train(
    objective: Objective,
    plan: BatchPlan,
    options: OptimOptions,
    *,
    score_val: Callable[[], ValScore],
    select_metric: str,
    report: Callable[[EpochReport], None],
    checkpoint: Callable[[Callable[[Path], None]], None] | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    device: torch.device | None = None,
    resume_from: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> RunState:
    """Train, keeping the best encoder on val; the objective ends with that encoder loaded.

    Args:
        options: epochs, rates and the like.
        score_val: scores the encoder on val; called on every rank, returns the same on each.
        select_metric: key of its values by which the best epoch is chosen; never one of test.
        report: called on every rank after each scoring of val, the first before the first step.
        checkpoint: called on every rank, with what writes a checkpoint, between two scorings and before the error of a
            step that is not finite; None: such checkpoints are not made.
        wrap: DDP, or nothing.
        on_step: called on every rank with (steps done, steps of the run) after each step.

    Returns:
        Where the run ended.

    Raises:
        UserError: a loss term or the gradient is not finite.
        ProtocolError: `select_metric` is of the test split.
    """
    return _Run(
        objective=objective,
        plan=plan,
        options=options,
        score_val=score_val,
        select_metric=select_metric,
        report=report,
        checkpoint=checkpoint,
        wrap=wrap,
        device=device or torch.device("cpu"),
        on_step=on_step,
    ).go(resume_from)


class _Run:
    """One training run while it runs."""

    def __init__(
        self,
        *,
        objective: Objective,
        plan: BatchPlan,
        options: OptimOptions,
        score_val: Callable[[], ValScore],
        select_metric: str,
        report: Callable[[EpochReport], None],
        checkpoint: Callable[[Callable[[Path], None]], None] | None,
        wrap: Callable[[nn.Module], nn.Module],
        device: torch.device,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        refuse_test_metric(select_metric)
        self._objective, self._plan, self._options = objective.to(device).train(), plan, options
        self._score_val, self._metric, self._report, self._checkpoint = score_val, select_metric, report, checkpoint
        self._device, self._on_step = device, on_step
        self._wrapped = wrap(objective)
        self._step = Step(
            optimiser=build_optimiser(objective, options),
            max_grad_norm=options.max_grad_norm,
            chunk_size=options.chunk_size,
            autocast=autocast_of(options.precision, device),
        )
        self._average = MovingAverage(objective, options.ema_decay) if options.ema_decay else None
        self._total_steps = options.epochs * plan.steps_per_epoch
        self._state = RunState()
        self._best = Best(weights=objective.encoder.plain_state())
        # of the steps since the last scoring; those before a restart are in the state as numbers
        self._rows: list[dict[str, float | Tensor]] = []

    def go(self, resume_from: Path | None) -> RunState:
        objective = self._objective
        if resume_from is not None:
            self._best, self._state = load_checkpoint(
                resume_from, objective=objective, optimiser=self._step.optimiser, average=self._average
            )
            self._rows = [dict(row) for row in self._state.unreported]
            self._state = replace(self._state, unreported=())
        else:
            val = self._score()
            self._best = Best(weights=self._best.weights, ranked=val.ranked)
            self._state = RunState(best_value=val.values[self._metric])
            self._announce(val)
        if not self._is_over:
            self._train_on()
        objective.encoder.load_plain_state(self._best.weights)
        return self._state

    @property
    def _is_over(self) -> bool:
        has_lost_patience = 0 < self._options.patience <= self._state.since_best
        return has_lost_patience or self._state.steps_done >= self._total_steps

    def _train_on(self) -> None:
        """From the state to the end."""
        timer, last_checkpoint = _Timer(), time.monotonic()
        for batch in self._batches():
            timer.got_batch()
            number = self._state.steps_done
            share = share_of_peak(number, total_steps=self._total_steps, options=self._options)
            set_rates(self._step.optimiser, share)
            torch.manual_seed(derive_seed(self._plan.seed, "step", number, self._plan.rank))
            try:
                terms = self._step(self._wrapped, self._objective, batch.to(self._device), number=number)
            except UserError:
                self._save_between()
                raise
            if self._average is not None:
                self._average.update()
            rate = share * self._options.learning_rate
            self._rows.append({"step": number, "learning_rate": rate, **terms})
            self._state = replace(self._state, steps_done=number + 1)
            timer.ended_step()
            if self._on_step is not None:
                self._on_step(number + 1, self._total_steps)
            if self._is_time_to_score():
                self._close(self._score(), timer)
                timer, last_checkpoint = _Timer(), time.monotonic()
                if self._is_over:
                    return
            elif self._is_time_to_save(last_checkpoint):
                self._save_between()
                last_checkpoint = time.monotonic()

    def _batches(self) -> Iterator[Batch]:
        first_epoch, first_step = divmod(self._state.steps_done, self._plan.steps_per_epoch)
        for epoch in range(first_epoch, self._options.epochs):
            yield from self._plan.batches(epoch, first_step=first_step if epoch == first_epoch else 0)

    # ---- val

    def _score(self) -> ValScore:
        if self._average is None:
            return self._score_val()
        with self._average.swapped():
            return self._score_val()

    def _is_time_to_score(self) -> bool:
        done = self._state.steps_done
        every = self._options.eval_steps or self._plan.steps_per_epoch
        return done % every == 0 or done == self._total_steps

    def _close(self, val: ValScore, timer: _Timer) -> None:
        """Keep the encoder if it is the best so far, and report."""
        value, best_value = val.values[self._metric], self._state.best_value
        # of equal values the earlier one stays
        is_best = best_value is None or merit(self._metric, value) > merit(self._metric, best_value)
        if is_best:
            self._best = Best(weights=self._averaged_snapshot(), ranked=val.ranked)
        rows = [{name: float(value) for name, value in row.items()} for row in self._rows]
        self._rows = []
        self._state = replace(
            self._state,
            best_epoch=self._epoch if is_best else self._state.best_epoch,
            best_value=value if is_best else best_value,
            since_best=0 if is_best else self._state.since_best + 1,
        )
        self._announce(
            val,
            step_metrics=rows,
            rows_per_second=timer.steps * self._plan.batch_size / timer.seconds,
            waiting_share=timer.waited / timer.seconds,
        )

    def _announce(self, val: ValScore, **more: Any) -> None:
        self._report(
            EpochReport(
                epoch=self._epoch,
                steps_done=self._state.steps_done,
                total_steps=self._total_steps,
                val_metrics=val.values,
                is_last=self._is_over,
                save=self._save,
                **more,
            )
        )

    @property
    def _epoch(self) -> float:
        return round(self._state.steps_done / self._plan.steps_per_epoch, 4)

    def _averaged_snapshot(self) -> dict[str, Tensor]:
        if self._average is None:
            return self._objective.encoder.plain_state()
        with self._average.swapped():
            return self._objective.encoder.plain_state()

    # ---- checkpoints

    def _save(self, folder: Path) -> None:
        rows = tuple({name: float(value) for name, value in row.items()} for row in self._rows)
        save_checkpoint(
            folder,
            objective=self._objective,
            optimiser=self._step.optimiser,
            average=self._average,
            best=self._best,
            state=replace(self._state, unreported=rows),
        )

    def _save_between(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint(self._save)

    def _is_time_to_save(self, last: float) -> bool:
        """The same on every rank, though their clocks differ."""
        if self._checkpoint is None:
            return False
        done, options = self._state.steps_done, self._options
        if options.checkpoint_steps and done % options.checkpoint_steps == 0:
            return True
        if not options.checkpoint_minutes or done % _STEPS_BETWEEN_LOOKS:
            return False
        return bool(max_over_ranks(int(time.monotonic() - last >= 60 * options.checkpoint_minutes)))


class _Timer:
    """Since the last report: seconds, steps, and the seconds spent waiting for batches."""

    def __init__(self) -> None:
        self._started = self._mark = time.perf_counter()
        self.waited, self.steps = 0.0, 0

    def got_batch(self) -> None:
        self.waited += time.perf_counter() - self._mark

    def ended_step(self) -> None:
        self.steps += 1
        self._mark = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._mark - self._started


def autocast_of(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where asked for, or where a GPU has it; float32 elsewhere. The loss itself is computed in float32.

    Raises:
        ConfigError: bfloat16 is asked where there is none: emulated, a step takes up to 30 times as long.
    """
    has_bfloat16 = _has_bfloat16(device)
    if precision == "bfloat16" and not has_bfloat16:
        what = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
        raise ConfigError(f"optim.precision 'bfloat16' is not what {what} computes in: use 'float32' or 'auto'")
    is_wanted = precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and has_bfloat16)
    return torch.autocast(device.type, dtype=torch.bfloat16) if is_wanted else nullcontext()


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
